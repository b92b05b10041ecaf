package main

import "golang.org/x/sys/unix"

// int80 is closed: 32-bit programs cannot be asked for from here.
func int80() error { return unix.ENOSYS }
