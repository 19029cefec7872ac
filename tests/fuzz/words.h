/* words.h: changes of a program's text that leave it mostly a program: by word, line and bracket instead of by byte. */
#ifndef KD_TEST_WORDS_H
#define KD_TEST_WORDS_H
#include <stddef.h>
#include <stdint.h>
/* One to four changes of the n bytes at p, which has room for `most`; `other` (may be empty) is a text to take pieces from. The new size. */
size_t kd_words_mutate(uint8_t *p, size_t n, size_t most, const uint8_t *other, size_t nother, unsigned seed);
#endif
