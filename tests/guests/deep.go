// Calls itself deeply: `frames N` with 128 bytes in each, `json N` on input that is nested so deep.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

//go:noinline
func frames(n int) int {
	var room [128]byte
	room[n%128] = 1
	if n == 0 {
		return 0
	}
	return frames(n-1) + int(room[n%128])
}

func main() {
	n, _ := strconv.Atoi(os.Args[2])
	if os.Args[1] == "frames" {
		fmt.Println(frames(n))
		return
	}
	var value any
	err := json.Unmarshal([]byte(strings.Repeat("[", n)+strings.Repeat("]", n)), &value)
	fmt.Println(err)
}
