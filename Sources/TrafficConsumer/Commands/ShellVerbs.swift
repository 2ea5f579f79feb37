// ShellVerbs: `completion` and `manual`: what shells and man(1) want to know, made from the list of verbs.

import Settings

enum ShellVerbs {
  static let all: [Verb] = [completion, manual]

  private static let completion = Verb(
    words: ["completion"], arguments: "bash|zsh|fish", summary: "completion of verbs and options for a shell",
    details: "Prints a script for the shell to read at its start.",
    examples: [
      ("source <(traffic-consumer completion bash)", "for this shell"),
      ("traffic-consumer completion fish > ~/.config/fish/completions/traffic-consumer.fish", "for good"),
    ],
    options: [],
    run: { input throws(VerbError) in
      switch try input.onlyArgument("a shell") {
      case "bash": Standard.output(bash)
      case "zsh": Standard.output("#compdef traffic-consumer\nautoload -U +X bashcompinit && bashcompinit\n" + bash)
      case "fish": Standard.output(fish)
      case let other: throw VerbError(.usage, "\(other): expected bash, zsh or fish")
      }
      return .ok
    })

  private static let manual = Verb(
    words: ["manual"], arguments: "", summary: "the manual page, for man(1)",
    details: "In mdoc's older sister man(7); install it as traffic-consumer.1.",
    examples: [
      ("traffic-consumer manual | man -l -", "read it"),
      ("traffic-consumer manual > /usr/local/share/man/man1/traffic-consumer.1", "install it"),
    ],
    options: [],
    run: { input throws(VerbError) in
      try input.noArguments()
      Standard.output(page)
      return .ok
    })

  private static func options(_ verb: Verb) -> [CommandLineOption] { Verb.shared + verb.options }

  // MARK: shells

  private static func flags(_ options: [CommandLineOption]) -> String {
    options.flatMap { option in
      ["--\(option.name)"] + (option.short.map { ["-\($0)"] } ?? [])
    }.joined(separator: " ")
  }

  private static var bash: String {
    let verbs = ConsumerCommand.verbs
    let first = unique(verbs.map { $0.words[0] })
    var text = """
      _traffic_consumer() {
        local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]} second=${COMP_WORDS[2]}
        if [ "$COMP_CWORD" -eq 1 ]; then
          COMPREPLY=($(compgen -W "\(first.joined(separator: " ")) --help --version" -- "$word")); return
        fi
        case "${COMP_WORDS[COMP_CWORD-1]}" in
          -o|--output) COMPREPLY=($(compgen -W "table json jsonl csv" -- "$word")); return ;;
          --by) COMPREPLY=($(compgen -W "\(QueryGrain.allCases.map(\.rawValue).joined(separator: " "))" -- "$word")); return ;;
          --metric) COMPREPLY=($(compgen -W "\(TopMetric.allCases.map(\.rawValue).joined(separator: " "))" -- "$word")); return ;;
          --state) COMPREPLY=($(compgen -W "\(DeadLetterState.allCases.map(\.rawValue).joined(separator: " "))" -- "$word")); return ;;
          --config|-c|--database|--to) COMPREPLY=($(compgen -f -- "$word")); return ;;
        esac
        case "$verb $second" in

      """
    for verb in verbs where verb.words.count == 2 {
      text += "    \"\(verb.name)\") COMPREPLY=($(compgen -W \"\(flags(options(verb)))\" -- \"$word\")); return ;;\n"
    }
    text += "  esac\n  case \"$verb\" in\n"
    for word in first {
      let group = verbs.filter { $0.words[0] == word }
      let words =
        group.count == 1 && group[0].words.count == 1
        ? flags(options(group[0])) : group.map { $0.words[1] }.joined(separator: " ")
      text += "    \(word)) COMPREPLY=($(compgen -W \"\(words)\" -- \"$word\")); return ;;\n"
    }
    return text + "  esac\n}\ncomplete -o default -F _traffic_consumer traffic-consumer\n"
  }

  private static var fish: String {
    func quoted(_ text: String) -> String {
      "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "\\'") + "'"
    }
    var text = "complete -c traffic-consumer -f\n"
    let verbs = ConsumerCommand.verbs
    for word in unique(verbs.map { $0.words[0] }) {
      let summary =
        verbs.first { $0.words == [word] }?.summary
        ?? verbs.filter { $0.words[0] == word }.map { $0.words[1] }.joined(separator: ", ")
      text += "complete -c traffic-consumer -n __fish_use_subcommand -a \(word) -d \(quoted(summary))\n"
    }
    for verb in verbs {
      var condition = "__fish_seen_subcommand_from \(verb.words[0])"
      if verb.words.count == 2 {
        let siblings = verbs.filter { $0.words[0] == verb.words[0] }.map { $0.words[1] }.joined(separator: " ")
        text +=
          "complete -c traffic-consumer -n \(quoted("\(condition); and not __fish_seen_subcommand_from \(siblings)")) "
          + "-a \(verb.words[1]) -d \(quoted(verb.summary))\n"
        condition += "; and __fish_seen_subcommand_from \(verb.words[1])"
      }
      for option in options(verb) {
        text += "complete -c traffic-consumer -n \(quoted(condition)) -l \(option.name)"
        text +=
          (option.short.map { " -s \($0)" } ?? "") + (option.value == nil ? "" : " -r") + " -d \(quoted(option.help))\n"
      }
    }
    return text
  }

  private static func unique(_ words: [String]) -> [String] {
    var seen: Set<String> = []
    return words.filter { seen.insert($0).inserted }
  }

  // MARK: man(7)

  /// A line of text that no formatter takes for a command.
  private static func man(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
      let escaped = line.split(separator: "\\", omittingEmptySubsequences: false).joined(separator: "\\e")
        .split(separator: "-", omittingEmptySubsequences: false).joined(separator: "\\-")
      return escaped.hasPrefix(".") || escaped.hasPrefix("'") ? "\\&" + escaped : escaped
    }.joined(separator: "\n")
  }

  private static func manOptions(_ options: [CommandLineOption]) -> String {
    options.map { option in
      let short = option.short.map { "\\fB\\-\($0)\\fR, " } ?? ""
      let value = option.value.map { " \\fI\(man($0))\\fR" } ?? ""
      return ".TP\n\(short)\\fB\\-\\-\(man(option.name))\\fR\(value)\n\(man(option.help))\n"
    }.joined()
  }

  private static var page: String {
    var text = """
      .TH TRAFFIC\\-CONSUMER 1 "" "traffic-consumer \(Version.semantic)"
      .SH NAME
      traffic\\-consumer \\- from the tracker's traffic stream to totals in SQLite
      .SH SYNOPSIS
      .B traffic\\-consumer
      .I VERB
      [arguments] [options]
      .SH OPTIONS OF EVERY VERB
      \(manOptions(Verb.shared)).SH VERBS

      """
    for verb in ConsumerCommand.verbs {
      text += ".SS \"\(man(verb.name)) \(man(verb.arguments))\"\n\(man(verb.summary)).\n"
      if !verb.details.isEmpty { text += ".PP\n\(man(verb.details))\n" }
      text += manOptions(verb.options)
      for example in verb.examples {
        text += ".PP\nExample: \(man(example.meaning))\n.PP\n.nf\n.RS\n\(man(example.command))\n.RE\n.fi\n"
      }
    }
    text += """
      .SH EXIT STATUS
      0 done; 1 partly done; 2 nothing matched; 64 the command line is wrong; 65 a value is wrong; 69 Redis is not
      reachable; 74 an I/O error or a damaged database; 75 another process holds the lock; 78 the configuration is wrong.
      .SH FILES
      .I \(man(ConsumerConfig.defaultPath))
      .SH ENVIRONMENT
      .B CONSUMER__REDIS__URL
      and the like override the configuration;
      .B NO_COLOR
      turns colours off.

      """
    return text
  }
}
