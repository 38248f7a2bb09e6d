package dev.imago.bench;

/** Does nothing: what is left is the price of a JVM. */
final class Empty {
  private Empty() {}

  public static void main(String[] args) {}
}
