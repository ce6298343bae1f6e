// A program with a runtime of its own: threads of the language, a heap, a file system.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	fmt.Println("hello from Go,", strings.Join(os.Args[1:], " "))
	if text, err := os.ReadFile("note.txt"); err == nil {
		fmt.Print("note: ", string(text))
	}
	fmt.Fprintln(os.Stderr, "leaving with 3")
	os.Exit(3)
}
