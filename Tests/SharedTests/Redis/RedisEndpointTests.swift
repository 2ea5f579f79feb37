import Redis
import Testing

@Suite struct RedisEndpointTests {
  @Test(
    "a URL names address, user, password and database",
    arguments: [
      ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0", nil, nil),
      ("redis://pwd@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0", nil, "pwd"),
      ("redis://:p%40ss@host/3", "redis://:***@host:6379/3", nil, "p@ss"),
      ("redis://u:p@[::1]:7000/12", "redis://u:***@[::1]:7000/12", "u", "p"),
      ("redis+unix:///run/r.sock?db=2", "redis+unix:///run/r.sock?db=2", nil, nil),
      ("redis+unix://u:p@/run/r.sock", "redis+unix://u:***@/run/r.sock?db=0", "u", "p"),
      ("redis+sentinel://u:p@a,b:7/pt/1", "redis+sentinel://u:***@a:26379,b:7/pt/1", "u", "p"),
      ("redis+cluster://a:1,[::1]", "redis+cluster://a:1,[::1]:6379", nil, nil),
    ] as [(String, String, String?, String?)])
  func parse(url: String, shown: String, user: String?, password: String?) throws {
    let endpoint = try RedisEndpoint(url: url)
    #expect(endpoint.redacted == shown)
    #expect(endpoint.user == user && endpoint.password == password)
  }

  @Test(
    "a URL that means nothing is refused with a sentence that does not repeat it",
    arguments: [
      "", "127.0.0.1:6379", "http://secret@x", "rediss://secret@x", "redis://", "redis://secret@:6379", "redis://h:0",
      "redis://h:65536", "redis://h:x", "redis://h/x", "redis://h/-1", "redis://::1", "redis://[::1", "redis://[::1]x",
      "redis://a,b/0", "redis://secret%4@h", "redis://se/cret@h", "redis://user:@h", "redis+unix://run/r.sock",
      "redis+unix:///r.sock?x=1", "redis+sentinel://a:1", "redis+cluster://a/1", "redis://h#secret",
    ])
  func refuse(url: String) {
    #expect(throws: RedisURLError.self) { try RedisEndpoint(url: url) }
    do {
      _ = try RedisEndpoint(url: url)
    } catch {
      #expect(!error.description.contains("secret") && error.description.count > 10)
    }
  }

  @Test("a key's slot is that of the Cluster specification")
  func slots() {
    #expect(RedisClusterSlot.slot(of: "123456789") == 0x31c3)
    #expect(RedisClusterSlot.slot(of: "{user1000}.following") == RedisClusterSlot.slot(of: "user1000"))
    #expect(RedisClusterSlot.slot(of: "foo{}{bar}") != RedisClusterSlot.slot(of: "bar"))
    #expect(RedisClusterSlot.slot(of: "foo{{bar}}zap") == RedisClusterSlot.slot(of: "{bar"))
  }
}
