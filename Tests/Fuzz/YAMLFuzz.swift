// YAMLFuzz: any bytes as a configuration file give a tree or an error with a line number. Built by Tests/Fuzz/run with
// YAML*.swift.

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzYAML(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  do throws(YAMLError) {
    _ = try YAMLParser.parse(bytes)
  } catch {
    precondition(error.line >= 1)
  }
  return 0
}
