# Takes code blocks out of a Markdown page.
#   awk -v want=program=first -f blocks.awk PAGE   the block whose opening line has that word
#   awk -v want=fragments -f blocks.awk PAGE       all C blocks that are no programs, each as a function of its own
/^```/ {
  if (open) {
    if (fragment) print "}\n"
    open = wanted = fragment = 0
    next
  }
  open = 1
  if (want == "fragments") {
    fragment = ($1 == "```c" && !/program=/)
    wanted = fragment
    if (fragment) printf "void fragment_%d(void) {\n#line %d \"%s\"\n", ++number, FNR + 1, FILENAME
  } else {
    for (i = 2; i <= NF; ++i) if ($i == want) wanted = 1
  }
  next
}
wanted { print }
