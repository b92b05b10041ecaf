package recipe

// The JSONSchema methods describe what UnmarshalText methods and checks accept.

// JSONSchema wants exactly one kind.
func (Source) JSONSchema() map[string]any {
	var kinds []any
	for _, name := range kindNames() {
		kinds = append(kinds, map[string]any{"required": []string{name}})
	}
	return map[string]any{"oneOf": kinds}
}

// JSONSchema wants a family.
func (Family) JSONSchema() map[string]any { return map[string]any{"enum": families} }

// JSONSchema wants a path below /usr.
func (Path) JSONSchema() map[string]any { return map[string]any{"pattern": "^/usr/.*[^/]$"} }

// JSONSchema wants an absolute pattern.
func (Glob) JSONSchema() map[string]any { return map[string]any{"pattern": "^/"} }

// JSONSchema wants an address of a page.
func (Homepage) JSONSchema() map[string]any { return map[string]any{"pattern": "^https?://"} }

// JSONSchema wants a whole number with a unit.
func (Limit) JSONSchema() map[string]any {
	return map[string]any{"pattern": "^([0-9]+ *(B|KiB|MiB|GiB)|0)$"}
}

// JSONSchema wants octal digits.
func (FileMode) JSONSchema() map[string]any { return map[string]any{"pattern": "^[0-7]{3,4}$"} }

// JSONSchema wants user:group.
func (Owner) JSONSchema() map[string]any { return map[string]any{"pattern": validOwner.String()} }

// JSONSchema wants a name.
func (Capability) JSONSchema() map[string]any {
	names := make([]string, len(capabilities))
	for number, name := range capabilities {
		names[number] = "cap_" + name
	}
	return map[string]any{"enum": names}
}

// JSONSchema wants a duration.
func (Timeout) JSONSchema() map[string]any { return map[string]any{"pattern": "^([0-9.]+(h|m|s))+$"} }

// JSONSchema wants a whole number with a unit.
func (Output) JSONSchema() map[string]any { return Limit{}.JSONSchema() }

// JSONSchema wants a whole number with a unit.
func (Memory) JSONSchema() map[string]any { return Limit{}.JSONSchema() }
