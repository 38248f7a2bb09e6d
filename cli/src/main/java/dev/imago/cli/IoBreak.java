package dev.imago.cli;

import dev.imago.filter.FaultStorage;
import dev.imago.storage.BlockEvent;
import java.util.List;

/** Commands of {@code io} that hold requests back at an event, by {@code blkdebug}. */
final class IoBreak {
  private static final String NOTHING = "No such file or directory";
  private static final String UNSUPPORTED = "Operation not supported";

  private IoBreak() {}

  /** {@code break} */
  static void set(IoSession io, IoArguments arguments) throws IoFailure {
    List<String> words = arguments.all();
    BlockEvent event = BlockEvent.of(words.getFirst());
    if (io.faulty().isEmpty() || event == null) {
      String why = io.faulty().isEmpty() ? UNSUPPORTED : NOTHING;
      throw IoFailure.said("Could not set breakpoint: " + why);
    }
    io.faulty().getFirst().breakAt(event, words.get(1));
  }

  /** {@code remove_break} */
  static void remove(IoSession io, IoArguments arguments) throws IoFailure {
    String tag = arguments.all().getFirst();
    String what = "Could not remove breakpoint " + tag + ": ";
    if (!storage(io, what).removeBreak(tag)) {
      throw IoFailure.said(what + NOTHING);
    }
  }

  /** {@code resume} */
  static void resume(IoSession io, IoArguments arguments) throws IoFailure {
    String what = "Could not resume request: ";
    if (!storage(io, what).resume(arguments.all().getFirst())) {
      throw IoFailure.said(what + NOTHING);
    }
  }

  /** {@code wait_break}; where qemu-io would wait for ever, it is said that there is nothing. */
  static void await(IoSession io, IoArguments arguments) throws IoFailure {
    String what = "Could not wait for request: ";
    try {
      if (!storage(io, what).awaitBreak(arguments.all().getFirst())) {
        throw IoFailure.said(what + NOTHING);
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  private static FaultStorage storage(IoSession io, String what) throws IoFailure {
    if (io.faulty().isEmpty()) {
      throw IoFailure.said(what + UNSUPPORTED);
    }
    return io.faulty().getFirst();
  }
}
