// BuildStamp: the module that the BuildCommit plugin puts `clinux_build_commit` into (a generated file beside this one).
// It stands alone so that a new commit compiles this module and links, and nothing imports it: the symbol replaces the
// weak "unknown" of CLinux. SwiftPM wants a source file in every target; this comment is all it needs.
