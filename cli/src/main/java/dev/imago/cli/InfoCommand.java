package dev.imago.cli;

/** {@code info}: what an image is. */
final class InfoCommand {
  private InfoCommand() {}

  static int run(Terminal terminal, String[] args) throws Exception {
    throw GetOpt.notSupported("info");
  }
}
