package dev.imago.cli;

/** The command line's entry. A placeholder until the commands land. */
public final class Main {
  private Main() {}

  /** Runs one command and exits with its code. */
  public static void main(String[] args) {
    System.err.println("imago: no commands yet");
    System.exit(1);
  }
}
