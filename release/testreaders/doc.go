// Package testreaders lets real programs judge our readers of foreign formats.
//
// Its tests change sound inputs in every field that a format's document names, cut them, repeat and swap their parts, and give each to
// our reader and to the programs that others read the format with. What such a program refuses, or reads otherwise, we must not take.
// We may refuse more. Where a program is the one that is wrong, the format's file says so, with a reason.
//
// Another test reads what upstreams really publish, so that strictness costs nobody a package.
package testreaders
