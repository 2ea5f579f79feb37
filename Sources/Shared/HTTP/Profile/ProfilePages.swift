// ProfilePages: /debug/pprof/ on an AdminServer: what pprof tools ask of a running daemon. Everything on the admin thread.
// Paths and forms are those of gperftools ("Remote servers" in pprof's manual) and Go's net/http/pprof.

import CLinux
import Glibc
import Linux

public enum ProfilePages {
  /// Samples per second of CPU time: gperftools' default.
  static let samplesPerSecond: Int32 = 100
  /// Without `seconds=`, as in Go.
  static let defaultSeconds: UInt64 = 30
  /// The samples of five minutes of one core fit the profiler's memory.
  static let maximumSeconds: UInt64 = 300

  /// The routes, for `AdminServer(routes:)`.
  public static func routes() -> [AdminServer.Route] {
    clinux_profile_note_stack()
    return [
      .init(path: "/debug/pprof/") { _, writer in
        writer.begin(.ok, contentType: "text/plain; charset=utf-8")
        writer.append(
          """
          cmdline            the command line, its words separated by zero bytes
          symbol?0xADDRESS   the names of functions at addresses, joined by +
          profile?seconds=N  a CPU profile of N seconds (30), for google-pprof and pprof

          """)
      },
      .init(path: "/debug/pprof/cmdline") { _, writer in
        writer.begin(.ok, contentType: "text/plain; charset=utf-8")
        writer.append(CommandLine.arguments.joined(separator: "\0"))
      },
      .init(path: "/debug/pprof/symbol") { request, writer in symbols(request, &writer) },
      .init(path: "/debug/pprof/trace") { _, writer in
        writer.begin(.notImplemented, contentType: "text/plain; charset=utf-8")
        writer.append(
          "execution traces are Go's; a profile is at /debug/pprof/profile?seconds=N, a trace is `perf trace -p PID`\n")
      },
      .init(
        path: "/debug/pprof/profile", begin: { request in begin(request) },
        refuse: { request, writer in
          let isNumber = seconds(request) != nil
          writer.begin(isNumber ? .serviceUnavailable : .badRequest, contentType: "text/plain; charset=utf-8")
          writer.append(
            isNumber
              ? "a profile is being taken already; try again when it has ended\n"
              : "expected seconds=N with N from 1 to \(maximumSeconds)\n")
        }, finish: { writer in finish(&writer) }),
    ]
  }

  private static func seconds(_ request: borrowing HTTPRequest) -> UInt64? {
    let query = String(decoding: request.query, as: UTF8.self)
    guard let pair = query.split(separator: "&").first(where: { $0.hasPrefix("seconds=") }) else {
      return defaultSeconds
    }
    guard let seconds = UInt64(pair.dropFirst("seconds=".count)), (1...maximumSeconds).contains(seconds) else {
      return nil
    }
    return seconds
  }

  /// nil: refused, the same request tells why.
  private static func begin(_ request: borrowing HTTPRequest) -> UInt64? {
    guard let seconds = seconds(request) else { return nil }
    let code = clinux_profile_start(samplesPerSecond)
    guard code == 0 else { return nil }
    Log.info("CPU profile begins", ["seconds": seconds])
    return seconds * 1_000_000_000
  }

  /// The legacy format of gperftools ("CPU profiler file format"): machine words in native order.
  ///
  /// | words | meaning |
  /// |---|---|
  /// | 0, 3, 0, period, 0 | header: its length behind the first two, version, microseconds per sample |
  /// | count, depth, pc... | one sample each |
  /// | 0, 1, 0 | end |
  /// | text | /proc/self/maps |
  private static func finish(_ writer: inout HTTPResponseWriter) {
    var samples: UnsafePointer<UInt64>?
    var dropped: UInt64 = 0
    let count = clinux_profile_stop(&samples, &dropped)
    Log.info("CPU profile ends", ["words": count, "dropped_samples": dropped])
    writer.begin(.ok, contentType: "application/octet-stream")
    for word in [0, 3, 0, 1_000_000 / UInt64(samplesPerSecond), 0] as [UInt64] { append(word, &writer) }
    if let samples { writer.append(UnsafeRawBufferPointer(UnsafeBufferPointer(start: samples, count: count))) }
    for word in [0, 1, 0] as [UInt64] { append(word, &writer) }
    writer.append(maps())
  }

  private static func append(_ word: UInt64, _ writer: inout HTTPResponseWriter) {
    withUnsafeBytes(of: word) { writer.append($0) }
  }

  /// /proc/self/maps, by which a tool finds the files behind addresses.
  private static func maps() -> String {
    guard let file = fopen("/proc/self/maps", "re") else { return "" }
    defer { fclose(file) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { text += buffer[..<count] }
    return String(decoding: text, as: UTF8.self)
  }

  /// `num_symbols: 1` without addresses; else a line `0xADDRESS<tab>name` for each that is known.
  private static func symbols(_ request: borrowing HTTPRequest, _ writer: inout HTTPResponseWriter) {
    writer.begin(.ok, contentType: "text/plain; charset=utf-8")
    let addresses = String(decoding: request.query, as: UTF8.self).split { $0 == "+" || $0 == "&" }
    if addresses.isEmpty { return writer.append("num_symbols: 1\n") }
    let table = SymbolTable.ofThisProgram()
    for text in addresses.prefix(1000) {
      guard let address = UInt64(text.hasPrefix("0x") ? text.dropFirst(2) : text, radix: 16) else { continue }
      writer.append("0x\(String(address, radix: 16))\t\(table?.name(at: address) ?? "??")\n")
    }
  }
}
