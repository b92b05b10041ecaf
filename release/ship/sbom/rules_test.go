package sbom

import (
	"bytes"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// rules is what the JSON schema of SPDX 2.3 (spdx/spdx-spec, schemas/spdx-schema.json) says of all that we write: which fields are
// there, which must be, which words and forms they take. A field that is not in here is none of SPDX's, or is new in ours.
const rules = `{
  "type": "object", "additionalProperties": false,
  "required": ["SPDXID", "creationInfo", "dataLicense", "name", "spdxVersion", "documentNamespace"],
  "properties": {
    "SPDXID": {"const": "SPDXRef-DOCUMENT"}, "spdxVersion": {"const": "SPDX-2.3"}, "dataLicense": {"const": "CC0-1.0"},
    "name": {"type": "string"}, "documentNamespace": {"type": "string", "pattern": "^https://[^#]+$"},
    "creationInfo": {
      "type": "object", "additionalProperties": false, "required": ["created", "creators"],
      "properties": {
        "created": {"type": "string", "pattern": "^[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z$"},
        "creators": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^(Tool|Organization|Person): ."}}
      }
    },
    "packages": {"type": "array", "minItems": 1, "items": {
      "type": "object", "additionalProperties": false, "required": ["SPDXID", "downloadLocation", "name"],
      "properties": {
        "SPDXID": {"$ref": "#/$defs/id"}, "name": {"type": "string"}, "versionInfo": {"type": "string"}, "packageFileName": {"type": "string"},
        "downloadLocation": {"type": "string"}, "filesAnalyzed": {"type": "boolean"}, "comment": {"type": "string"},
        "licenseConcluded": {"type": "string"}, "licenseDeclared": {"type": "string"}, "copyrightText": {"type": "string"},
        "primaryPackagePurpose": {"enum": ["OTHER", "INSTALL", "ARCHIVE", "FIRMWARE", "APPLICATION", "FRAMEWORK", "LIBRARY", "CONTAINER", "SOURCE", "DEVICE", "OPERATING-SYSTEM", "FILE"]},
        "checksums": {"type": "array", "items": {
          "type": "object", "additionalProperties": false, "required": ["algorithm", "checksumValue"],
          "properties": {"algorithm": {"const": "SHA256"}, "checksumValue": {"type": "string", "pattern": "^[0-9a-f]{64}$"}}
        }},
        "externalRefs": {"type": "array", "items": {
          "type": "object", "additionalProperties": false, "required": ["referenceCategory", "referenceLocator", "referenceType"],
          "properties": {
            "referenceCategory": {"enum": ["OTHER", "PERSISTENT-ID", "SECURITY", "PACKAGE-MANAGER"]},
            "referenceType": {"type": "string"}, "referenceLocator": {"type": "string", "pattern": "^[^ ]+$"}
          }
        }}
      }
    }},
    "relationships": {"type": "array", "items": {
      "type": "object", "additionalProperties": false, "required": ["spdxElementId", "relatedSpdxElement", "relationshipType"],
      "properties": {
        "spdxElementId": {"$ref": "#/$defs/id"}, "relatedSpdxElement": {"$ref": "#/$defs/id"},
        "relationshipType": {"enum": ["DESCRIBES", "CONTAINS", "GENERATED_FROM"]}
      }
    }}
  },
  "$defs": {"id": {"type": "string", "pattern": "^SPDXRef-[a-zA-Z0-9.-]+$"}}
}`

func TestRulesOfTheSchema(t *testing.T) {
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(rules))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("rules.json", parsed); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("rules.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(content []byte) error {
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(content))
		if err != nil {
			return err
		}
		return schema.Validate(document)
	}
	documents, err := Documents(testManifest())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range documents {
		if err := check(content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, change := range [][2]string{
			{`"SPDX-2.3"`, `"SPDX-2.4"`}, {`"creators"`, `"creator"`}, {`"SPDXRef-Image-`, `"SPDXRef_Image-`}, {`"PACKAGE-MANAGER"`, `"PURL"`},
			{`"downloadLocation"`, `"location"`}, {`"ARCHIVE"`, `"IMAGE"`}, {`"DESCRIBES"`, `"IS"`},
		} {
			bad := bytes.Replace(content, []byte(change[0]), []byte(change[1]), 1)
			if err := check(bad); err == nil && !bytes.Equal(bad, content) {
				t.Errorf("%s: %s for %s is not noticed", name, change[1], change[0])
			}
		}
	}
}
