package dev.imago.cli;

/** Commands of {@code io} that hold requests back at an event. No image here has events yet. */
final class IoBreak {
  private IoBreak() {}

  /** {@code break} */
  static void set(IoSession io, IoArguments arguments) throws IoFailure {
    throw IoFailure.said("Could not set breakpoint: Operation not supported");
  }

  /** {@code remove_break} */
  static void remove(IoSession io, IoArguments arguments) throws IoFailure {
    throw IoFailure.said(
        "Could not remove breakpoint " + arguments.all().getFirst() + ": Operation not supported");
  }

  /** {@code resume} */
  static void resume(IoSession io, IoArguments arguments) throws IoFailure {
    throw IoFailure.said("Could not resume request: Operation not supported");
  }

  /** {@code wait_break} */
  static void await(IoSession io, IoArguments arguments) throws IoFailure {
    throw IoFailure.said("Could not wait for request: Operation not supported");
  }
}
