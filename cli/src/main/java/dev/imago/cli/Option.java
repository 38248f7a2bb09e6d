package dev.imago.cli;

/**
 * One option of a command.
 *
 * @param letter the short form, or 0 if there is none
 * @param name the long form, or the letter again if there is none; what {@link GetOpt#next} returns
 * @param takesValue whether a value follows
 */
record Option(char letter, String name, boolean takesValue) {

  /** {@code -U}, {@code --force-share} */
  static Option flag(char letter, String name) {
    return new Option(letter, name, false);
  }

  /** {@code -p} */
  static Option flag(char letter) {
    return new Option(letter, String.valueOf(letter), false);
  }

  /** {@code --backing-chain} */
  static Option flag(String name) {
    return new Option((char) 0, name, false);
  }

  /** {@code -f FMT} */
  static Option value(char letter) {
    return new Option(letter, String.valueOf(letter), true);
  }

  /** {@code -k PATH}, {@code --socket=PATH} */
  static Option value(char letter, String name) {
    return new Option(letter, name, true);
  }

  /** {@code --output=FMT} */
  static Option value(String name) {
    return new Option((char) 0, name, true);
  }

  boolean hasLongForm() {
    return name.length() > 1;
  }
}
