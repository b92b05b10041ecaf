// Package setup prepares a run: options from the environment (Options), cache and tools (Bench), what to make (Choice) and
// signing keys (Keys). None of them changes afterwards.
package setup

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/progress"
	"github.com/flatcar/oem-sysext/oem/host/size"
	"github.com/flatcar/oem-sysext/release/format/manifest"
	"github.com/flatcar/oem-sysext/release/format/sign"
	"github.com/flatcar/oem-sysext/release/profiles"
)

// Options are the settings of a run. The zero value of a field means its default.
//
// The tag env names the variable of a field; the tag doc is its text in the table of settings (Settings).
type Options struct {
	Checkout  string           // the directory with recipes/ and platforms/
	Platforms []string         // ids; the profile decides when empty
	Source    *manifest.Source // what releases say that they were made by; nil: the commit of the checkout
	Arch      arch.Arch        `env:"ARCH" envDefault:"amd64" doc:"architecture of the images: amd64 or arm64"`
	BaseID    string           `env:"BASE" doc:"the OS release that images are built for and embedded in: a reference base (trixie, forky) or a Flatcar release (version, channel, address or file)" default:"the profile's, else trixie"`
	Version   string           `env:"VERSION" doc:"version of the release, where BASE is a reference base; Flatcar's releases keep their own" default:"9999.0.0"`
	Epoch     Epoch            `env:"SOURCE_DATE_EPOCH" doc:"timestamp of everything in the release, in seconds since 1970" default:"date of the base's Debian suite"`
	Profile   string           `env:"PROFILE" doc:"what goes into the release: the name of a profile in release/profiles, or the path of one" default:"default"`
	OEM       profiles.Origin  `env:"OEM" doc:"where the platforms' tools come from: recipes, upstream (the images that Flatcar publishes with BASE, byte for byte) or repacked (their files)" default:"the profile's, else recipes"`
	Extras    bool             `env:"EXTRAS" doc:"1: with the tools that Flatcar's own images do not have, the platforms' extras" default:"the profile's, else without"`
	Previous  []string         `env:"PREVIOUS" envSeparator:":" doc:"manifests or directories of earlier releases, oldest first, separated by colons; reports compare with them"`
	DeltaFrom []string         `env:"DELTA_FROM" envSeparator:":" doc:"directories of earlier releases, separated by colons; for the machines of each, an update payload is made that has only what has changed since"`
	Kind      ImageKind        `env:"IMAGES" doc:"kind of the extension images: bare (a plain file system) or signed (with dm-verity hashes and a signature)" default:"signed for bases with systemd 258 or later"`
	Integrate Integrate        `env:"INTEGRATE" doc:"0: leave Flatcar's own scripts alone, which fetch a machine's OEM image for each update (release/README.md, machines that exist)" default:"1: they leave what the release embeds to it"`
	Locked    bool             `env:"LOCKED" doc:"1: take everything from lock files, look nothing up"`
	Jobs      Count            `env:"JOBS" doc:"number of jobs that run in parallel" default:"number of processors"`
	Output    string           `env:"OUTPUT" envDefault:"_output" doc:"directory for releases"`
	Format    Format           `env:"FORMAT" envDefault:"text" doc:"text, or json: answers of targets as values for programs ([answers](#answers-for-programs)); for recipe:check also sarif, for code reviews"`
	Verbose   bool             `env:"VERBOSE" doc:"1: say the command line of each program that is run, and again with the error of one that failed, as with scripts/mage -v"`
	Releases  string           `env:"RELEASES_URL" doc:"address below which releases are published; it goes into *.transfer and *.butane.yaml" default:"this project's on GitHub"`

	Cache            string     `env:"CACHE" envDefault:".cache" doc:"directory for results that later runs reuse"`
	CacheLimit       size.Bytes `env:"CACHE_LIMIT" envDefault:"20 GiB" doc:"size limit of the cache without downloads, such as 8 GiB; 0 for no limit"`
	RemoteCache      Words      `env:"REMOTE_CACHE" doc:"shared caches to read from: directories or addresses, separated by blanks"`
	RemoteCacheWrite string     `env:"REMOTE_CACHE_WRITE" doc:"shared cache to write to; whoever can write to it decides what others accept as results"`

	// Keys for update payloads, extension images and kernels. Without a key, the cache's development key signs payloads and
	// images; kernels stay unsigned.
	UpdateKey             string `env:"UPDATE_KEY" doc:"PEM file with the RSA key that signs update payloads, or the address of a key in a token (pkcs11:…); with only the public half, signatures are made elsewhere (UPDATE_SIGNATURES). A profile may put the public half on machines" default:"a development key in the cache, which no machine trusts"`
	UpdateSignatures      string `env:"UPDATE_SIGNATURES" doc:"directory of payload signatures made elsewhere; missing ones are requested there, with the commands to run"`
	SysextKey             string `env:"SYSEXT_KEY" doc:"PEM file with the RSA key that signs extension images, or the address of a key in a token; with only the public half, signatures are made elsewhere (SYSEXT_SIGNATURES)" default:"a development key in the cache"`
	SysextCertificate     string `env:"SYSEXT_CERTIFICATE" doc:"PEM file with the certificate of SYSEXT_KEY; it goes into /usr/lib/verity.d"`
	SysextSignatures      string `env:"SYSEXT_SIGNATURES" doc:"directory of image signatures made elsewhere"`
	SecureBootKey         string `env:"SECURE_BOOT_KEY" doc:"PEM file with the key that signs a kernel for Secure Boot after a new root hash was written into it, or the address of a key in a token; with only the public half, signatures are made elsewhere (SECURE_BOOT_SIGNATURES)" default:"no signature"`
	SecureBootCertificate string `env:"SECURE_BOOT_CERTIFICATE" doc:"PEM file with the certificate of SECURE_BOOT_KEY"`
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

// Format is how targets answer.
type Format string

// The formats.
const (
	Text  Format = "text"  // for people
	JSON  Format = "json"  // for programs
	SARIF Format = "sarif" // for code reviews; of recipe:check only
)

// UnmarshalText reads the name of a format.
func (f *Format) UnmarshalText(text []byte) error {
	*f = Format(text)
	if *f != Text && *f != JSON && *f != SARIF {
		return errors.New("wanted text, json, or, for recipe:check, sarif")
	}
	return nil
}

// ProofFormat is how targets answer with a proof, if not as Format says.
type ProofFormat string

// The formats for continuous integration.
const (
	TAP   ProofFormat = "tap"   // Test Anything Protocol
	JUnit ProofFormat = "junit" // XML of JUnit
)

// UnmarshalText reads the name of a format.
func (f *ProofFormat) UnmarshalText(text []byte) error {
	*f = ProofFormat(text)
	if *f != TAP && *f != JUnit {
		return errors.New("wanted tap or junit")
	}
	return nil
}

// Integrate says whether Flatcar's own scripts are changed so that they leave OEM images to the release; zero if they are.
type Integrate struct{ Off bool }

// UnmarshalText reads 1 or 0.
func (i *Integrate) UnmarshalText(text []byte) error {
	on, err := strconv.ParseBool(string(text))
	i.Off = !on
	return err
}

// Flatcar configures the download of Flatcar's releases and packages.
type Flatcar struct {
	Server  string `env:"FLATCAR_SERVER" envDefault:"https://CHANNEL.release.flatcar-linux.net" doc:"address of Flatcar's releases; CHANNEL in it stands for the channel"`
	Updates string `env:"FLATCAR_UPDATES" envDefault:"https://update.release.flatcar-linux.net" doc:"address of the payloads of Flatcar's releases, the directory above BOARD/VERSION"`
	Key     string `env:"FLATCAR_KEY" doc:"file with Flatcar's signing key; its fingerprint must be that of the key in the tree" default:"the one in the tree"`
	Kernel  string `env:"BASE_KERNEL" doc:"file with the kernel of a base image that has none in it" default:"the one beside the image"`
	Binary  string `env:"FLATCAR_BINPKGS" doc:"address of Flatcar's binary packages, the directory above boards/"`
}

// Debian configures the archive that Debian packages come from.
type Debian struct {
	Mirror     string `env:"DEBIAN_MIRROR" doc:"address of the Debian archive" default:"the host's apt configuration"`
	Security   string `env:"DEBIAN_SECURITY_MIRROR" doc:"address of the Debian security archive" default:"the host's apt configuration"`
	Keyring    string `env:"DEBIAN_KEYRING" doc:"file with the archive's OpenPGP keys" default:"keys in this repository"`
	ValidUntil string `env:"DEBIAN_CHECK_VALID_UNTIL" doc:"no: accept an index of a Debian mirror that is expired, or older than one that the tree knows of"`
}

// GitHub configures access to GitHub, for workflows and releases.
type GitHub struct {
	Token       string `env:"GITHUB_TOKEN" doc:"token for GitHub's API; it is sent nowhere else"`
	API         string `env:"GITHUB_API_URL" doc:"address of GitHub's API" default:"github.com's"`
	Server      string `env:"GITHUB_SERVER_URL" envDefault:"https://github.com" doc:"address of GitHub"`
	Repository  string `env:"GITHUB_REPOSITORY" doc:"repository of the releases, OWNER/NAME"`
	Commit      string `env:"GITHUB_SHA" doc:"commit that the tag of a new release points to" default:"the head of the default branch"`
	Ref         string `env:"GITHUB_REF_NAME" doc:"for ci:bump: base branch of pull requests; for release:tagVersion: the tag"`
	Run         string `env:"GITHUB_RUN_ID" doc:"for ci:report: workflow run to link to"`
	Needs       string `env:"NEEDS" doc:"for ci:report: the workflow's context needs, as JSON"`
	Environment string `env:"GITHUB_ENV" doc:"file that sets variables for the next steps of a job"`
	StepOutput  string `env:"GITHUB_OUTPUT" doc:"file for the outputs of a step"`
	Summary     string `env:"GITHUB_STEP_SUMMARY" doc:"file for the summary of a job"`
	Temp        string `env:"RUNNER_TEMP" doc:"directory for temporary files; ci:keys writes keys there"`
	Shards      Count  `env:"SHARDS" envDefault:"4" doc:"for ci:matrix: number of parts that the work is divided into"`
}

// Publish configures how releases are published, signed and verified.
type Publish struct {
	Apply              bool   `env:"PUBLISH" doc:"for release:publish, 1: publish; otherwise print what would be done"`
	Prerelease         bool   `env:"PRERELEASE" doc:"for release:publish, 1: mark the release as a pre-release"`
	Replace            bool   `env:"REPLACE" doc:"for release:publish, 1: replace files of the draft that differ, and remove those that do not belong there"`
	Prune              bool   `env:"PRUNE" doc:"for release:prune, 1: remove old nightlies; otherwise print which ones"`
	SigningKey         string `env:"SIGNING_KEY" doc:"file with the OpenPGP private key that signs SHA256SUMS when a release is published; nobody else may read the file" default:"no signature"`
	SigningPassphrase  string `env:"SIGNING_PASSPHRASE" doc:"passphrase of SIGNING_KEY"`
	MinisignKey        string `env:"MINISIGN_KEY" doc:"file with a minisign private key without a passphrase, otherwise as SIGNING_KEY" default:"no signature"`
	ReleaseKey         string `env:"RELEASE_KEY" doc:"for release:verify: file with OpenPGP public keys; a good signature by one of them is required" default:"not checked"`
	ReleaseMinisignKey string `env:"RELEASE_MINISIGN_KEY" doc:"for release:verify: minisign public key; a good signature by it is required" default:"not checked"`
}

// Nebraska is the update server that a release is registered with.
type Nebraska struct {
	CodeBase string `env:"CODEBASE" doc:"for release:nebraska: address of the directory from which machines download the payloads"`
	URL      string `env:"NEBRASKA_URL" doc:"for release:nebraska: address of the Nebraska server" default:"none; the Omaha answer is printed"`
	Token    string `env:"NEBRASKA_TOKEN" doc:"for release:nebraska: bearer token of the server"`
	App      string `env:"APP" doc:"for release:nebraska: name or id of the application" default:"Flatcar"`
	Channel  string `env:"CHANNEL" doc:"for release:nebraska: channel to point at the release"`
	Delta    string `env:"DELTA" doc:"for release:nebraska: version of an earlier release that all machines of the channel run; they get the update from it, with only what has changed" default:"the whole update, for all versions"`
	Register bool   `env:"APPLY" doc:"for release:nebraska, 1: register the release; otherwise print what would be done"`
}

// Proof configures proofs and checks of releases and payloads.
type Proof struct {
	Refreshes int         `env:"REFRESHES" envDefault:"200" doc:"for prove:soak: number of refreshes, a multiple of ten"`
	Faults    Count       `env:"FAULTS" envDefault:"18" doc:"for prove:faults: number of runs to disturb"`
	Seed      uint64      `env:"SEED" envDefault:"1" doc:"for prove:faults: what all that is random is chosen by"`
	AnswerAs  ProofFormat `env:"PROOF_FORMAT" doc:"tap or junit: what proofs print, for systems of continuous integration that read one of these" default:"as FORMAT"`
	PublicKey string      `env:"KEY" doc:"for payload:verify and payload:apply: PEM file with a public key; a good signature by it is required"`
	Out       string      `env:"OUT" doc:"for payload:verify: directory to write what the payload installs to; for payload:delta: directory to write the payload to" default:"payload:verify writes nothing; payload:delta to the current directory"`
	FuzzTime  string      `env:"FUZZ_TIME" envDefault:"5s" doc:"for fuzz: how long each fuzz test runs, or with how many inputs, such as 2000x"`
	CI        string      `env:"CI" doc:"when set, a test that lacks something on this machine fails instead of being skipped"`
}

// The defaults of a run without configuration.
const (
	DefaultBase    = "trixie"
	DefaultVersion = "9999.0.0" // higher than any release of Flatcar
	OutputDir      = "_output"
	CacheDir       = ".cache"
)

// FromEnvironment returns the options in this process's environment.
func FromEnvironment(checkout string) (Options, error) { return Read(checkout, os.Environ()) }

// Dir returns the release directory.
func (o Options) Dir() string {
	return filepath.Join(o.Output, orElse(o.Version, DefaultVersion), string(o.Arch))
}

// Getenv looks a variable up in the environment that the options came from.
func (o Options) Getenv(name string) string {
	if o.environment == nil {
		return os.Getenv(name)
	}
	return o.environment[name]
}

// Parallel returns the number of parallel jobs, at least 1.
func (o Options) Parallel() int { return max(1, int(o.Jobs)) }

// Time returns the epoch as a time, or the zero time when it is not set.
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
