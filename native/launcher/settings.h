#ifndef PELAGOS_SETTINGS_H
#define PELAGOS_SETTINGS_H

enum { SETTINGS_SIZE = 4096 };

/* Texts, each with its NUL, that `pelagos install` writes over the tag in the installed copy: a line that names the
   program that wrote it, the version, the interpreter, the directory of the Python package, and the Python code of the
   other launcher. In a separate file, so that no compiler treats the tag as their constant value. */
extern const char settings[SETTINGS_SIZE];

#endif
