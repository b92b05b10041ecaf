package archive

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

var (
	paxInteger = regexp.MustCompile(`^[0-9]+$`)
	paxTime    = regexp.MustCompile(`^(-?[0-9]+)(\.[0-9]+)?$`)
)

// Records that change nothing of what is unpacked: notes, what only the machine that made the archive knows, and labels that depend on it.
var paxIgnored = regexp.MustCompile(`^(comment|atime|ctime|charset|LIBARCHIVE\.creationtime|RHT\.security\.selinux|SCHILY\.(dev|ino|nlink|fflags|devmajor|devminor|filetype)|[A-FH-KM-QT-Z][A-Za-z0-9-]*\..+)$`)

// checkExtended checks what the extended headers before an entry of this type say about it.
func checkExtended(before map[byte]*extended, kind byte) error {
	isLink := kind == '1' || kind == '2'
	if before['K'] != nil && !isLink {
		return errors.New("has a long target and is no link")
	}
	x := before['x']
	if x == nil {
		return nil
	}
	if before['L'] != nil || before['K'] != nil {
		return errors.New("has extended headers of two formats")
	}
	for key, value := range x.records {
		if err := checkRecord(x, key, value); err != nil {
			return fmt.Errorf("record %s=%.40q: %w", key, value, err)
		}
		if key == "linkpath" && !isLink {
			return errors.New("has the record linkpath and is no link")
		}
	}
	return checkSparse(x.records, kind)
}

// checkRecord refuses values that readers understand in different ways, and records that some of them know and we do not.
func checkRecord(x *extended, key, value string) error {
	if key == "" || value == "" && !strings.HasPrefix(key, xattrPrefix) && key != "comment" {
		return errors.New("wanted a name and a value")
	}
	switch key {
	case "path", "linkpath", "uname", "gname":
		return nil // names are checked where they are used
	case "hdrcharset":
		if value != "BINARY" && value != "ISO-IR 10646 2000 UTF-8" {
			return errors.New("wanted UTF-8")
		}
		return nil
	case "uid", "gid", "size":
		largest := int64(maxID)
		if key == "size" {
			largest = 1<<63 - 1
		}
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || !paxInteger.MatchString(value) || n > largest {
			return fmt.Errorf("wanted a number up to %d", largest)
		}
		return nil
	case "mtime":
		parts := paxTime.FindStringSubmatch(value)
		if parts == nil {
			return errors.New("wanted seconds and a fraction")
		}
		if n, err := strconv.ParseInt(parts[1], 10, 64); err != nil || n < minTime || n > maxTime {
			return fmt.Errorf("wanted %d to %d", int64(minTime), int64(maxTime))
		}
		return nil
	}
	switch {
	case paxIgnored.MatchString(key), strings.HasPrefix(key, "GNU.sparse."), strings.HasPrefix(key, xattrPrefix):
		return nil // the latter two are checked elsewhere
	case strings.HasPrefix(key, libarchiveXattr):
		return checkTwin(x.records, key, value)
	}
	return errors.New("is not known here; wanted names, owner, size, times, xattrs or a sparse file's map")
}

// libarchiveXattr is how libarchive names xattrs: percent-encoded, with a value in base64.
const libarchiveXattr = "LIBARCHIVE.xattr."

// checkTwin wants an xattr of libarchive to be there in the usual form, too. Libarchive writes both.
func checkTwin(records map[string]string, key, value string) error {
	name, err := url.PathUnescape(strings.TrimPrefix(key, libarchiveXattr))
	if err != nil {
		return err
	}
	decoded, err := base64.RawStdEncoding.DecodeString(value)
	if twin, there := records[xattrPrefix+name]; err != nil || !there || twin != string(decoded) {
		return fmt.Errorf("wanted the same value in %s%s", xattrPrefix, name)
	}
	return nil
}

// checkSparse takes sparse files in the format 1.0 of GNU tar only, which has its map before the content. The older two repeat records.
func checkSparse(records map[string]string, kind byte) error {
	found := 0
	for key := range records {
		if strings.HasPrefix(key, "GNU.sparse.") {
			found++
		}
	}
	if found == 0 {
		return nil
	}
	if found != 4 || records["GNU.sparse.major"] != "1" || records["GNU.sparse.minor"] != "0" || records["GNU.sparse.name"] == "" ||
		!paxInteger.MatchString(records["GNU.sparse.realsize"]) || kind != '0' && kind != 0 {
		return errors.New("has records of a sparse file; wanted those of the format 1.0 of GNU tar (major, minor, name, realsize), of a file")
	}
	return nil
}
