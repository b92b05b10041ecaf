package release

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// Options are what a release engineer chooses. The zero value of a field means its default.
type Options struct {
	Checkout  string    // the directory with recipes/ and platforms/
	Output    string    // where releases go
	Cache     string    // what later runs need not make again
	BaseID    string    // a reference base, or one of Flatcar's releases: a version, a channel, an address, a file; the profile decides when empty
	Version   string    // of the release; one of Flatcar's keeps its own
	Arch      arch.Arch //
	Profile   string    // a name in release/profiles, or the path of a file elsewhere
	Previous  []string  // manifests of earlier releases or their directories, the oldest first
	Platforms []string  // ids; the profile decides when empty
	Epoch     time.Time // the time of everything in the release; by default the date of the base's suite
	Releases  string    // address that releases are published below, for what machines get them by; this project's when empty
	// What the cache may take of the disk, downloads apart; as much as there is when 0.
	CacheLimit size.Bytes
	// Caches that other machines share, directories or addresses: those that are read, in this order, and one that is written to.
	RemoteCache      []string
	RemoteCacheWrite string
	Locked           bool // take everything from lock files, and never look anything up
	Jobs             int  // how much is done at a time
	Progress         *progress.Display
	// What update payloads are signed with; the development key of the cache when there is none.
	Update sign.Files
	// How extension images lie on disk: what fits the base when empty.
	Kind ImageKind
	// What images are signed with, where they are signed; the development key of the cache when there is none.
	Extensions sign.Files
	// What the kernel is signed with for Secure Boot. Without a key it has no signature.
	SecureBoot sign.Files
	Log        *slog.Logger
}

// The defaults of a run without configuration.
const (
	DefaultBase    = "trixie"
	DefaultVersion = "9999.0.0" // higher than any release of Flatcar
	OutputDir      = "_output"
	CacheDir       = ".cache"
	CacheLimit     = 20 * size.GiB
)

// FromEnvironment returns the options that environment variables choose:
// VERSION, BASE, PROFILE, PREVIOUS (paths with colons between them), RELEASES_URL, OUTPUT, CACHE, CACHE_LIMIT, REMOTE_CACHE (with blanks between), REMOTE_CACHE_WRITE, JOBS, LOCKED, SOURCE_DATE_EPOCH,
// IMAGES, SYSEXT_KEY, SYSEXT_CERTIFICATE, SYSEXT_SIGNATURES, UPDATE_KEY, UPDATE_SIGNATURES, SECURE_BOOT_KEY, SECURE_BOOT_CERTIFICATE and SECURE_BOOT_SIGNATURES.
func FromEnvironment(checkout string) (Options, error) {
	display := progress.New(os.Stderr)
	o := Options{
		Checkout:    checkout,
		Output:      orElse(os.Getenv("OUTPUT"), OutputDir),
		Cache:       orElse(os.Getenv("CACHE"), CacheDir),
		Profile:     os.Getenv("PROFILE"),
		Previous:    filepath.SplitList(os.Getenv("PREVIOUS")),
		RemoteCache: strings.Fields(os.Getenv("REMOTE_CACHE")), RemoteCacheWrite: os.Getenv("REMOTE_CACHE_WRITE"),
		Update:     sign.Files{Key: os.Getenv("UPDATE_KEY"), Signatures: os.Getenv("UPDATE_SIGNATURES")},
		Releases:   os.Getenv("RELEASES_URL"),
		BaseID:     os.Getenv("BASE"),
		Version:    os.Getenv("VERSION"),
		Arch:       arch.AMD64,
		CacheLimit: CacheLimit,
		Jobs:       runtime.NumCPU(),
		Progress:   display,
		Log:        display.Logger(slog.LevelInfo),
	}
	o.Kind = ImageKind(os.Getenv("IMAGES"))
	o.Extensions = sign.Files{
		Key:         os.Getenv("SYSEXT_KEY"),
		Certificate: os.Getenv("SYSEXT_CERTIFICATE"),
		Signatures:  os.Getenv("SYSEXT_SIGNATURES"),
	}
	o.SecureBoot = sign.Files{
		Key:         os.Getenv("SECURE_BOOT_KEY"),
		Certificate: os.Getenv("SECURE_BOOT_CERTIFICATE"),
		Signatures:  os.Getenv("SECURE_BOOT_SIGNATURES"),
	}
	if text := os.Getenv("ARCH"); text != "" {
		if err := o.Arch.UnmarshalText([]byte(text)); err != nil {
			return o, fmt.Errorf("ARCH: %w", err)
		}
	}
	if text := os.Getenv("JOBS"); text != "" {
		jobs, err := strconv.Atoi(text)
		if err != nil || jobs < 1 {
			return o, fmt.Errorf("JOBS=%s; wanted a number from 1 on", text)
		}
		o.Jobs = jobs
	}
	if text := os.Getenv("CACHE_LIMIT"); text != "" {
		limit, err := size.Parse(text)
		if err != nil {
			return o, fmt.Errorf("CACHE_LIMIT: %w", err)
		}
		o.CacheLimit = limit
	}
	if text := os.Getenv("LOCKED"); text != "" {
		locked, err := strconv.ParseBool(text)
		if err != nil {
			return o, fmt.Errorf("LOCKED=%s; wanted 1 or 0", text)
		}
		o.Locked = locked
	}
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds < 0 {
			return o, fmt.Errorf("SOURCE_DATE_EPOCH=%s; wanted seconds since 1970", text)
		}
		o.Epoch = time.Unix(seconds, 0).UTC()
	}
	return o, nil
}

func orElse(value, fallback string) string {
	if value != "" {
		return value
	}
	return fallback
}
