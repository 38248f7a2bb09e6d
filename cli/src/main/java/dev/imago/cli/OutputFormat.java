package dev.imago.cli;

/** What {@code --output} can be. */
enum OutputFormat {
  HUMAN,
  JSON;

  static OutputFormat of(String word) throws Failure {
    return switch (word) {
      case "human" -> HUMAN;
      case "json" -> JSON;
      default -> throw new Failure("--output must be used with human or json as argument.");
    };
  }
}
