// YAMLError: why a document is not of the subset that YAMLParser reads, by line. Its texts are for the operator.

/// What stands in the way, with the line it stands on.
public struct YAMLError: Error, Sendable, Equatable, CustomStringConvertible {
  public enum Problem: Sendable, Equatable {
    // Characters.
    case tooLarge, invalidUTF8
    case controlCharacter(UInt32)
    case unusualLineBreak, byteOrderMark, tab
    // Documents.
    case directive, secondDocument, documentEnd, contentAfterDocumentStart
    // Parts of YAML that are left out.
    case anchor, alias, tag, blockScalar, complexKey, mergeKey, continuedValue
    case reserved(Character)
    // Structure.
    case tooDeep, indentation, notAKey, noSpaceAfterColon, emptyKey, longKey
    case duplicateKey(String, firstLine: Int)
    case secondKeyOnLine, listOnKeyLine, itemAmongKeys
    case unexpected(Character)
    case trailing
    // Quotes.
    case unclosedQuote, badEscape, surrogateEscape
    // Flow lists and maps.
    case unclosedFlow, flowIndentation, missingComma, missingColon, pairInList, flowQuestionMark, flowColon
  }
  /// Counted from 1.
  public let line: Int
  public let problem: Problem

  public var description: String { "line \(line): \(problem.text)" }
}

extension YAMLError.Problem {
  /// One sentence: what is not accepted, and what to write in its place.
  public var text: String {
    switch self {
    case .tooLarge: "the file is larger than \(YAMLParser.maximumBytes) bytes"
    case .invalidUTF8: "this is not UTF-8"
    case .controlCharacter(let value):
      "the control character U+\(String(value, radix: 16, uppercase: true)) is not allowed; remove it"
    case .unusualLineBreak:
      "only LF and CR LF end a line; another line separator is here, which YAML 1.1 and 1.2 read differently"
    case .byteOrderMark: "a byte order mark is allowed at the beginning of the file only"
    case .tab: "a tab outside of quotes; write spaces"
    case .directive: "directives (%) are not supported; remove the line"
    case .secondDocument: "a second document begins here; write one document in a file"
    case .documentEnd: "the document end marker (...) is not supported; remove the line"
    case .contentAfterDocumentStart: "write what follows --- on a line of its own"
    case .anchor: "anchors (&) are not supported; write the value out, or put the text in quotes"
    case .alias: "aliases (*) are not supported; write the value out, or put the text in quotes"
    case .tag: "tags (!) are not supported; put the text in quotes"
    case .blockScalar:
      "block texts (| and >) are not supported; write the text in double quotes on one line, \\n for a line break"
    case .complexKey: "a key must be a text on one line; lists, maps and ? as keys are not supported"
    case .mergeKey: "merge keys (<<) are not supported; write the settings out"
    case .continuedValue:
      "the value of the line above seems to go on here; write it on one line, or correct the indentation"
    case .reserved(let character): "a value cannot begin with \(character); put the text in quotes"
    case .tooDeep: "more than \(YAMLParser.maximumDepth) levels of lists and maps"
    case .indentation: "the indentation fits none of the levels above"
    case .notAKey: "expected `key: value`"
    case .noSpaceAfterColon: "expected `key: value`, with a space after the colon"
    case .emptyKey: "the key is missing before the colon"
    case .longKey: "a key is longer than \(YAMLParser.maximumKeyBytes) bytes"
    case .duplicateKey(let key, let firstLine): "the key \(key) is already on line \(firstLine)"
    case .secondKeyOnLine: "a second `: ` on the line; put the value in quotes, or the nested key on its own line"
    case .listOnKeyLine:
      "a list item cannot stand on the line of its key; write it on the next line, or put the text in quotes"
    case .itemAmongKeys: "a list item among the keys of a map; correct the indentation"
    case .unexpected(let character): "\(character) is not expected here; put the text in quotes"
    case .trailing: "nothing but a comment (after a space) may follow the value"
    case .unclosedQuote: "the quote is not closed on this line; a quoted text must end on the line it begins"
    case .badEscape:
      "an unknown or incomplete escape in double quotes; write \\\\ for a backslash, or use single quotes"
    case .surrogateEscape: "the escape is no Unicode character; write characters above FFFF as \\UXXXXXXXX"
    case .unclosedFlow: "the bracket opened here is not closed"
    case .flowIndentation: "a line inside brackets must be indented more than the key they belong to"
    case .missingComma: "expected a comma or the closing bracket"
    case .missingColon: "expected `key: value` inside the braces"
    case .pairInList: "`key: value` inside [ ]; put braces around it, or the text in quotes"
    case .flowQuestionMark:
      "a question mark inside brackets, which YAML 1.1 and 1.2 read differently; put the text in quotes"
    case .flowColon:
      "a colon here is read differently by different YAML parsers; write a space after it, or put the text in quotes"
    }
  }
}
