/* saved.h: what a run saved. */
#ifndef KD_METHODS_SAVED_H
#define KD_METHODS_SAVED_H
/* How many tensors of a safetensors file have a name that matches the pattern (* stands for any text); below 0: there is no such file. */
int saved_count(const char *path, const char *pattern);
#endif
