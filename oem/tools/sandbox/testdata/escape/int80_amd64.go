package main

import "golang.org/x/sys/unix"

func int80getpid() int32

func int80() error {
	if pid := int80getpid(); pid < 0 {
		return unix.Errno(-pid)
	}
	return nil
}
