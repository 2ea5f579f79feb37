// The load generator of `make bench`: runs one load and prints one line of JSON, or is the server that measures the
// machine's limit. See LoadOptions.usage and EchoServer.

import Glibc

/// Says what is wrong and ends with a code of sysexits.
func fail(_ problem: String, code: Int32) -> Never {
  let text = Array("LoadGenerator: \(problem)\n".utf8)
  _ = write(STDERR_FILENO, text, text.count)
  exit(code)
}

do {
  let arguments = Array(CommandLine.arguments.dropFirst())
  if arguments.count == 2, let port = UInt16(arguments[1]) {
    if arguments[0] == "echo-udp" { try EchoServer(type: SOCK_DGRAM, port: port).serveUDP() }
    if arguments[0] == "echo-http" { try EchoServer(type: SOCK_STREAM, port: port).serveHTTP() }
  }
  let options = try LoadOptions(arguments)
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
