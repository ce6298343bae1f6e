#ifndef PELAGOS_SETTINGS_H
#define PELAGOS_SETTINGS_H

enum { SETTINGS_SIZE = 4096 };

/* Texts, each with its NUL, that `pelagos install` writes over the tag in the installed copy: a line with the name of
   the program that wrote it, the version, the interpreter, the directory of the Python package, and the Python code of
   the launcher in Python. Defined in a separate file: else a compiler may treat the tag as a constant. */
extern const char settings[SETTINGS_SIZE];

#endif
