/* What holds a pod's namespaces: it waits for ever. Linked statically, so that it is an image by itself. */
#include <unistd.h>

int main(void) {
    for (;;) pause();
}
