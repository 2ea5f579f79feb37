// What the configuration means for the parts of the program: the settings of the store and of the streams. Main thread, at
// start.

import Redis
import Wire

extension ConsumerConfig {
  var streamNames: [String] { StreamPartition.all(redis.partitions).map { $0.name(redis.streamKey) } }

  var storeSettings: StoreWriter.Settings {
    StoreWriter.Settings(
      databasePath: databasePath, streamNames: streamNames, windowSeconds: window.components.seconds,
      maximumDeliveries: deadLetterMaxDeliveries,
      retention: RetentionTimes(
        windows: retention.windows.components.seconds, days: retention.days.components.seconds,
        explanations: retention.explain.components.seconds),
      updateReportsPath: updateReportsPath)
  }

  func streamSettings(adoptsGroup: Bool = false) throws(RedisURLError) -> StreamSettings {
    func milliseconds(_ duration: Duration) -> Int {
      Int(duration.components.seconds) * 1000 + Int(duration.components.attoseconds / 1_000_000_000_000_000)
    }
    var settings = StreamSettings(
      endpoint: try RedisEndpoint(url: redis.url),
      timeouts: RedisTimeouts(
        connectMilliseconds: milliseconds(redis.connectTimeout), readMilliseconds: milliseconds(redis.readTimeout),
        writeMilliseconds: milliseconds(redis.writeTimeout)),
      streams: streamNames, group: redis.group, consumer: redis.consumer)
    settings.adoptsGroup = adoptsGroup
    return settings
  }
}
