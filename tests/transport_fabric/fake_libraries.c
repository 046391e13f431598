/* Libraries that are too old or not whole, by the names of real ones: what CMakeLists.txt defines of
 *   FAKE_UCX_MINOR     libucp says that it is 1.FAKE_UCX_MINOR
 *   FAKE_OFI_VERSION   libfabric says that it is 1.FAKE_OFI_VERSION
 * They have no other function. */
#include <stdint.h>

#ifdef FAKE_UCX_MINOR
void ucp_get_version(unsigned* major, unsigned* minor, unsigned* release) {
  *major = 1;
  *minor = FAKE_UCX_MINOR;
  *release = 0;
}
#endif

#ifdef FAKE_OFI_VERSION
uint32_t fi_version(void) { return UINT32_C(1) << 16 | FAKE_OFI_VERSION; }
#endif
