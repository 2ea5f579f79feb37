// The load generator of `make bench`: runs one load and prints one line of JSON. See LoadOptions.usage.

import Glibc

/// Says what is wrong and ends with a code of sysexits.
func fail(_ problem: String, code: Int32) -> Never {
  let text = Array("LoadGenerator: \(problem)\n".utf8)
  _ = write(STDERR_FILENO, text, text.count)
  exit(code)
}

do {
  let options = try LoadOptions(Array(CommandLine.arguments.dropFirst()))
  switch options.transport {
  case .udp:
    var load = try UDPLoad.connected(options)
    print(try load.run())
  case .http:
    var load = HTTPLoad(options, try Target(host: options.host, port: options.port))
    print(try load.run())
  }
} catch let complaint as LoadOptions.Complaint {
  fail("\(complaint)", code: 64)
} catch {
  fail("\(error)", code: 69)
}
