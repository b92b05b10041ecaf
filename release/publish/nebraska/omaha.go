package nebraska

import (
	"encoding/xml"
	"io"
	"strconv"
)

// What an Omaha server answers to a machine that should update, as far as update_engine and ue-rs read it.
type (
	omahaResponse struct {
		XMLName  xml.Name `xml:"response"`
		Protocol string   `xml:"protocol,attr"`
		Server   string   `xml:"server,attr"`
		Day      omahaDay `xml:"daystart"`
		App      omahaApp `xml:"app"`
	}
	omahaDay struct {
		Seconds int `xml:"elapsed_seconds,attr"`
	}
	omahaApp struct {
		ID     string      `xml:"appid,attr"`
		Status string      `xml:"status,attr"`
		Update omahaUpdate `xml:"updatecheck"`
	}
	omahaUpdate struct {
		Status   string        `xml:"status,attr"`
		URLs     []omahaURL    `xml:"urls>url"`
		Manifest omahaManifest `xml:"manifest"`
	}
	omahaURL struct {
		Codebase string `xml:"codebase,attr"`
	}
	omahaManifest struct {
		Version  string         `xml:"version,attr"`
		Packages []omahaPackage `xml:"packages>package"` // clients take the first one for the OS
		Actions  []omahaAction  `xml:"actions>action"`
	}
	omahaPackage struct {
		Name     string `xml:"name,attr"`
		SHA1     string `xml:"hash,attr"`                  // base64
		SHA256   string `xml:"hash_sha256,attr,omitempty"` // hexadecimal
		Size     string `xml:"size,attr"`
		Required bool   `xml:"required,attr"`
	}
	omahaAction struct {
		Event   string `xml:"event,attr"`
		SHA256  string `xml:"sha256,attr"` // base64, of the package of the OS
		IsDelta bool   `xml:"IsDeltaPayload,attr,omitempty"`
		Backoff bool   `xml:"DisablePayloadBackoff,attr"`
	}
)

// WriteOmaha writes the answer to a machine that should update.
func (u *Update) WriteOmaha(out io.Writer) error {
	packages := []omahaPackage{{Name: u.OS.Name, SHA1: u.OS.SHA1, Size: u.OS.decimal(), Required: true}}
	for _, f := range u.Extra {
		packages = append(packages, omahaPackage{Name: f.Name, SHA1: f.SHA1, SHA256: f.SHA256.String(), Size: f.decimal()})
	}
	response := omahaResponse{
		Protocol: "3.0", Server: "nebraska",
		App: omahaApp{ID: FlatcarApp, Status: "ok", Update: omahaUpdate{
			Status: "ok", URLs: []omahaURL{{u.Codebase}},
			Manifest: omahaManifest{
				Version: u.Version, Packages: packages,
				Actions: []omahaAction{{Event: "postinstall", SHA256: u.OS.sha256InBase64(), IsDelta: u.From != "", Backoff: true}},
			},
		}},
	}
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(out)
	encoder.Indent("", "  ")
	if err := encoder.Encode(response); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\n")
	return err
}

func (f File) decimal() string { return strconv.FormatInt(int64(f.Size), 10) }
