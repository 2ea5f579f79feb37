import Testing
import Wire

@Suite struct AddressPrefixTests {
  @Test(
    "a prefix contains its addresses and no others",
    arguments: [
      ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0", "::a00:1"]),
      ("192.0.2.128/25", ["192.0.2.128", "192.0.2.255"], ["192.0.2.127", "192.0.3.0"]),
      ("127.0.0.1", ["127.0.0.1"], ["127.0.0.2", "::1"]),
      ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::"]), ("::/0", ["::", "2001:db8::1"], ["1.2.3.4"]),
      ("::1", ["::1"], ["::2", "127.0.0.1"]),
      ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"], ["2001:db9::"]),
      ("2001:db8:0:1::/64", ["2001:db8:0:1::5"], ["2001:db8:0:2::5"]),
      ("2001:db8::8000:0:0:0/65", ["2001:db8::8000:0:0:1"], ["2001:db8::1"]),
      ("fe80::10/126", ["fe80::10", "fe80::13"], ["fe80::f", "fe80::14"]),
    ])
  func contains(text: String, inside: [String], outside: [String]) throws {
    let prefix = try #require(AddressPrefix(text))
    for address in inside { #expect(prefix.contains(try #require(IPAddress(address))), "\(address)") }
    for address in outside { #expect(!prefix.contains(try #require(IPAddress(address))), "\(address)") }
    #expect(AddressPrefix("\(prefix)") == prefix)
  }

  @Test(
    "what is no prefix is refused",
    arguments: [
      "", "10", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.1/8", "::1/64", "::/129", "a/8",
      "10.0.0.0/8/8", "10.0.0.0 /8",
      "::ffff:10.0.0.0/104",
    ])
  func refuses(text: String) { #expect(AddressPrefix(text) == nil) }
}
