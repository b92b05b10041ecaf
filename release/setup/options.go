// Package setup has what a run begins with: the options that the environment chooses (Options), what is open while it
// lasts (Bench), what was asked for (Choice), and what things are signed with (Keys). None of them changes afterwards.
package setup

import (
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/sign"
)

// Options are what a release engineer chooses. The zero value of a field means its default.
//
// A field with the tag env is read from that variable. The tag doc is its meaning in the table of settings (Settings).
type Options struct {
	Checkout  string    // the directory with recipes/ and platforms/
	Platforms []string  // ids; the profile decides when empty
	Arch      arch.Arch `env:"ARCH" envDefault:"amd64" doc:"architecture of the images: amd64 or arm64"`
	BaseID    string    `env:"BASE" doc:"the OS release that images are built for and embedded in: a reference base (trixie, forky), or one of Flatcar's: a version, a channel, an address or a file" default:"the profile's, else trixie"`
	Version   string    `env:"VERSION" doc:"version of a release of a reference base; releases of Flatcar keep their own" default:"9999.0.0"`
	Epoch     Epoch     `env:"SOURCE_DATE_EPOCH" doc:"the time of everything in the release, in seconds since 1970" default:"date of the base's Debian suite"`
	Profile   string    `env:"PROFILE" doc:"what the release is composed of: a name in release/profiles, or the path of such a file" default:"default"`
	Previous  []string  `env:"PREVIOUS" envSeparator:":" doc:"manifests or directories of earlier releases, oldest first, separated by colons"`
	Kind      ImageKind `env:"IMAGES" doc:"bare or signed: whether extension images are plain file systems, or carry dm-verity hashes and a signature" default:"signed for bases with systemd 258 or later"`
	Locked    bool      `env:"LOCKED" doc:"with 1, take everything from lock files and look nothing up"`
	Jobs      Count     `env:"JOBS" doc:"how much runs in parallel" default:"number of processors"`
	Output    string    `env:"OUTPUT" envDefault:"_output" doc:"directory for releases"`
	Releases  string    `env:"RELEASES_URL" doc:"address that releases are published below, for *.transfer and *.butane.yaml" default:"this project's on GitHub"`

	Cache            string     `env:"CACHE" envDefault:".cache" doc:"directory for results that later runs reuse"`
	CacheLimit       size.Bytes `env:"CACHE_LIMIT" envDefault:"20 GiB" doc:"room that the cache may take, downloads apart, such as 8 GiB; 0 for no limit"`
	RemoteCache      Words      `env:"REMOTE_CACHE" doc:"shared caches to read: directories or addresses, separated by blanks"`
	RemoteCacheWrite string     `env:"REMOTE_CACHE_WRITE" doc:"shared cache to write; whoever may write to it decides what others take for results"`

	// What update payloads, extension images and kernels are signed with. A development key of the cache signs the first two
	// when there is none; a kernel stays without a signature.
	UpdateKey             string `env:"UPDATE_KEY" doc:"PEM file with the RSA key that signs update payloads; with its public half alone, signatures are made elsewhere" default:"a development key that no machine trusts"`
	UpdateSignatures      string `env:"UPDATE_SIGNATURES" doc:"directory of payload signatures made elsewhere; missing ones are requested there"`
	SysextKey             string `env:"SYSEXT_KEY" doc:"what images are signed with, as UPDATE_KEY" default:"a development key"`
	SysextCertificate     string `env:"SYSEXT_CERTIFICATE" doc:"certificate of SYSEXT_KEY; it goes into /usr/lib/verity.d"`
	SysextSignatures      string `env:"SYSEXT_SIGNATURES" doc:"directory of image signatures made elsewhere"`
	SecureBootKey         string `env:"SECURE_BOOT_KEY" doc:"PEM file with the key that signs kernels for Secure Boot after their root hash changed" default:"no signature"`
	SecureBootCertificate string `env:"SECURE_BOOT_CERTIFICATE" doc:"certificate of SECURE_BOOT_KEY"`
	SecureBootSignatures  string `env:"SECURE_BOOT_SIGNATURES" doc:"directory of kernel signatures made elsewhere"`

	Flatcar  Flatcar
	Debian   Debian
	GitHub   GitHub
	Publish  Publish
	Nebraska Nebraska
	Proof    Proof

	Progress *progress.Display
	Log      *slog.Logger

	environment map[string]string
}

// Flatcar says where releases and packages of Flatcar come from.
type Flatcar struct {
	Server string `env:"FLATCAR_SERVER" envDefault:"https://CHANNEL.release.flatcar-linux.net" doc:"where Flatcar's releases are; CHANNEL in it stands for a channel"`
	Key    string `env:"FLATCAR_KEY" doc:"file with Flatcar's signing key" default:"the one in the tree"`
	Kernel string `env:"BASE_KERNEL" doc:"kernel of a base that comes without one" default:"beside the image"`
	Binary string `env:"FLATCAR_BINPKGS" doc:"address of Flatcar's binary packages; boards/ is below it"`
}

// Debian says where packages of Debian come from.
type Debian struct {
	Mirror     string `env:"DEBIAN_MIRROR" doc:"address of the Debian archive" default:"the host's apt configuration"`
	Security   string `env:"DEBIAN_SECURITY_MIRROR" doc:"address of the Debian security archive" default:"the host's apt configuration"`
	Keyring    string `env:"DEBIAN_KEYRING" doc:"file with the archive's OpenPGP keys" default:"the host's apt configuration"`
	ValidUntil string `env:"DEBIAN_CHECK_VALID_UNTIL" doc:"no: take a mirror's index that has expired"`
}

// GitHub is where a workflow runs, or where releases are.
type GitHub struct {
	Token       string `env:"GITHUB_TOKEN" doc:"token for the API, to which alone it goes"`
	API         string `env:"GITHUB_API_URL" doc:"address of the API" default:"github.com's"`
	Server      string `env:"GITHUB_SERVER_URL" envDefault:"https://github.com" doc:"address of the server"`
	Repository  string `env:"GITHUB_REPOSITORY" doc:"OWNER/NAME of the repository that releases are published in"`
	Commit      string `env:"GITHUB_SHA" doc:"commit that a new tag points to" default:"the default branch"`
	Ref         string `env:"GITHUB_REF_NAME" doc:"branch that pull requests are for, or the tag of release:tagVersion"`
	Run         string `env:"GITHUB_RUN_ID" doc:"run that a failure report links to"`
	Needs       string `env:"NEEDS" doc:"for ci:report: the workflow's context needs, as JSON"`
	Environment string `env:"GITHUB_ENV" doc:"file that sets variables for the next steps"`
	StepOutput  string `env:"GITHUB_OUTPUT" doc:"file that takes a step's outputs"`
	Summary     string `env:"GITHUB_STEP_SUMMARY" doc:"file that takes a job's summary"`
	Temp        string `env:"RUNNER_TEMP" doc:"directory for temporary files, where ci:keys puts keys"`
	Shards      Count  `env:"SHARDS" envDefault:"4" doc:"for ci:matrix: how many parts the work has"`
}

// Publish says how releases are published, signed and verified.
type Publish struct {
	Apply              bool   `env:"PUBLISH" doc:"1: publish; otherwise print what would be done"`
	Prerelease         bool   `env:"PRERELEASE" doc:"1: publish as a pre-release"`
	Replace            bool   `env:"REPLACE" doc:"1: replace files of a draft that should be different"`
	Prune              bool   `env:"PRUNE" doc:"1: remove old nightlies; otherwise print which"`
	SigningKey         string `env:"SIGNING_KEY" doc:"OpenPGP private key that signs SHA256SUMS when a release is published; nobody else may read the file" default:"no signature"`
	SigningPassphrase  string `env:"SIGNING_PASSPHRASE" doc:"passphrase of SIGNING_KEY"`
	MinisignKey        string `env:"MINISIGN_KEY" doc:"minisign private key, as SIGNING_KEY" default:"no signature"`
	ReleaseKey         string `env:"RELEASE_KEY" doc:"for release:verify: file with the OpenPGP keys that must have signed" default:"not checked"`
	ReleaseMinisignKey string `env:"RELEASE_MINISIGN_KEY" doc:"for release:verify: minisign public key that must have signed" default:"not checked"`
}

// Nebraska is the update server that a release is registered with.
type Nebraska struct {
	CodeBase string `env:"CODEBASE" doc:"for release:nebraska: address of the directory where machines find the payloads"`
	URL      string `env:"NEBRASKA_URL" doc:"address of the server" default:"the Omaha answer is printed"`
	Token    string `env:"NEBRASKA_TOKEN" doc:"bearer token of the server"`
	App      string `env:"APP" doc:"application that gets the release" default:"Flatcar's"`
	Channel  string `env:"CHANNEL" doc:"channel that is moved to the release"`
	Register bool   `env:"APPLY" doc:"1: register the release; otherwise print what would be done"`
}

// Proof says how releases and payloads are proven and checked.
type Proof struct {
	Refreshes int    `env:"REFRESHES" envDefault:"200" doc:"for prove:soak: how often extensions are refreshed; a multiple of ten"`
	PublicKey string `env:"KEY" doc:"for payload:verify: public key that must have signed"`
	Out       string `env:"OUT" doc:"for payload:verify: directory that what the payload installs is written to"`
	FuzzTime  string `env:"FUZZ_TIME" envDefault:"5s" doc:"for fuzz: how long each target runs"`
	CI        string `env:"CI" doc:"when set, a test that cannot run here fails instead of being skipped"`
}

// The defaults of a run without configuration.
const (
	DefaultBase    = "trixie"
	DefaultVersion = "9999.0.0" // higher than any release of Flatcar
	OutputDir      = "_output"
	CacheDir       = ".cache"
)

// FromEnvironment returns the options that environment variables choose.
func FromEnvironment(checkout string) (Options, error) { return Read(checkout, os.Environ()) }

// Dir returns where a release lies.
func (o Options) Dir() string {
	return filepath.Join(o.Output, orElse(o.Version, DefaultVersion), string(o.Arch))
}

// Getenv looks a variable up where the options came from.
func (o Options) Getenv(name string) string {
	if o.environment == nil {
		return os.Getenv(name)
	}
	return o.environment[name]
}

// Parallel returns how much runs at a time, at least 1.
func (o Options) Parallel() int { return max(1, int(o.Jobs)) }

// Time returns the epoch as a time, and the zero time when it is open.
func (o Options) Time() time.Time { return time.Time(o.Epoch) }

func (o Options) updateKey() sign.Files {
	return sign.Files{Key: o.UpdateKey, Signatures: o.UpdateSignatures}
}

func (o Options) imageKey() sign.Files {
	return sign.Files{Key: o.SysextKey, Certificate: o.SysextCertificate, Signatures: o.SysextSignatures}
}

func (o Options) bootKey() sign.Files {
	return sign.Files{Key: o.SecureBootKey, Certificate: o.SecureBootCertificate, Signatures: o.SecureBootSignatures}
}

func orElse(value, fallback string) string {
	if value != "" {
		return value
	}
	return fallback
}
