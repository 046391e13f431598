/* Libraries that a network plug-in of NCCL's is not: one of a version that is too old, or, with TUTTI_TEST_NET_SHORT,
   one that says it is of version 10 and has fewer functions than that. */
#ifdef TUTTI_TEST_NET_SHORT
__attribute__((visibility("default"))) const char* ncclNetPlugin_v10[19] = {"Short"};
#else
__attribute__((visibility("default"))) const char* ncclNetPlugin_v6[18] = {"Old"};
__attribute__((visibility("default"))) const char* ncclNetPlugin_v7[20] = {"Old"};
#endif
