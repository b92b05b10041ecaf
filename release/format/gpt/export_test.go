package gpt

// Disk is the identifier of the disk.
func (t *Table) Disk() GUID { return t.disk }
