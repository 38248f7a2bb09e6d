package dev.imago.cli;

import dev.imago.nbd.NbdClient;
import dev.imago.nbd.NbdClientOptions;
import dev.imago.nbd.NbdException;
import dev.imago.nbd.NbdExportInfo;
import dev.imago.nbd.NbdUri;
import java.util.List;

/** What an NBD server has, as {@code qemu-nbd --list} prints it. */
final class ExportList {
  /** Words for the bits of an export's flags, from bit 1 on. */
  private static final String[] FLAGS = {
    "readonly",
    "flush",
    "fua",
    "rotational",
    "trim",
    "zeroes",
    "df",
    "multi",
    "resize",
    "cache",
    "fast-zero"
  };

  private ExportList() {}

  /**
   * Asks a server, and tells.
   *
   * @param server a name of any export of it
   */
  static void print(Terminal terminal, String server) throws Failure {
    List<NbdExportInfo> exports;
    try {
      exports = NbdClient.list(NbdUri.parse(server), NbdClientOptions.defaults());
    } catch (NbdException e) {
      throw new Failure(e.reason(), 1, e);
    } catch (IllegalArgumentException e) {
      throw new Failure(String.valueOf(e.getMessage()), 1, e);
    }
    StringBuilder text = new StringBuilder();
    text.append("exports available: ").append(exports.size()).append('\n');
    for (NbdExportInfo export : exports) {
      append(text, export);
    }
    terminal.print(text);
  }

  private static void append(StringBuilder text, NbdExportInfo export) {
    text.append(" export: '").append(Verdict.printable(export.name())).append("'\n");
    if (!export.description().isEmpty()) {
      text.append("  description: ").append(Verdict.printable(export.description())).append('\n');
    }
    if (export.size() < 0) {
      return;
    }
    text.append("  size:  ").append(export.size()).append("\n  flags: 0x");
    text.append(Integer.toHexString(export.flags())).append(" (");
    for (int i = 0; i < FLAGS.length; i++) {
      if ((export.flags() & 2 << i) != 0) {
        text.append(' ').append(FLAGS[i]);
      }
    }
    text.append(" )\n");
    if (export.minimum() > 0) {
      text.append("  min block: ").append(export.minimum());
      text.append("\n  opt block: ").append(export.preferred());
      text.append("\n  max block: ").append(export.maximum()).append('\n');
    }
    if (!export.contexts().isEmpty()) {
      text.append("  available meta contexts: ").append(export.contexts().size()).append('\n');
      for (String context : export.contexts()) {
        text.append("   ").append(Verdict.printable(context)).append('\n');
      }
    }
  }
}
