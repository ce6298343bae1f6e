/* Copying a directory by descriptors, so that no symlink in it leads anywhere. */
#ifndef PELAGOS_FILE_TREE_H
#define PELAGOS_FILE_TREE_H

/* Copy what is in an open directory into another one, with modes and owners. Symbolic links are copied as such;
   sockets, FIFOs and device nodes are left out. -ELOOP: directories in one another by more than a hundred. */
int copy_directory(int source, int target);
#endif
