// RunVerb: `traffic-consumer run`.

import Settings

enum RunVerb {
  static let verb = Verb(
    words: ["run"], arguments: "", summary: "the daemon: reads the stream, writes the database",
    details: """
      Reads the stream as a member of its group, commits batches to the database and acknowledges them afterwards.
      A second daemon on the same database stands by and takes over when the first one ends. SIGTERM and SIGINT
      finish what is in flight.
      """,
    examples: [
      ("traffic-consumer run --config /etc/pt-tracker/consumer.yaml", "the daemon, as systemd starts it"),
      ("traffic-consumer run --adopt-group", "a new database takes over a group that belonged to another one"),
    ],
    options: [
      CommandLineOption(
        "adopt-group", help: "take over a group that belongs to another database; what that one applied is not here")
    ],
    run: { input throws(VerbError) in
      try input.noArguments()
      try input.oneDatabase()
      return VerbExit(
        ConsumerDaemon.run(
          input.config, adoptsGroup: input.arguments.has("adopt-group"),
          requests: ConsumerCommand.verbs.compactMap(\.request)))
    })
}
