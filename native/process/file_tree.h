/* Copying a directory by descriptors, without following symbolic links. */
#ifndef PELAGOS_FILE_TREE_H
#define PELAGOS_FILE_TREE_H

/* Copy the entries of an open directory into another one, with modes and owners. Symbolic links are copied as links;
   sockets, FIFOs and device nodes are left out. -ELOOP: more than a hundred levels of directories. */
int copy_directory(int source, int target);
#endif
