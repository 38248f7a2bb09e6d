package dev.imago.cli;

import java.io.IOException;
import java.util.List;

/** Commands of {@code io} that have to do with the program itself. */
final class IoSystem {
  private static final int SIGABRT = 6;

  /** The largest number that a signal has on Linux. */
  private static final int LAST_SIGNAL = 64;

  private IoSystem() {}

  /** {@code help} */
  static void help(IoSession io, IoArguments arguments) throws IoFailure {
    List<String> names = arguments.all();
    if (names.isEmpty()) {
      for (IoVerb verb : IoVerbs.ALL) {
        io.terminal().line(verb.usage());
      }
      io.terminal().print("\nUse 'help commandname' for extended help.\n");
      return;
    }
    IoVerb verb = IoVerbs.find(names.getFirst());
    if (verb == null) {
      throw IoFailure.said("command " + names.getFirst() + " not found");
    }
    io.terminal().line(verb.usage());
    io.terminal().print(Help.ofIoVerb(verb.name()));
  }

  /** {@code quit} */
  static void quit(IoSession io, IoArguments arguments) {
    io.end();
  }

  /** {@code sleep} */
  static void sleep(IoSession io, IoArguments arguments) throws IoFailure {
    long milliseconds = IoNumber.milliseconds(arguments.all().getFirst());
    io.terminal().out().flush();
    try {
      Thread.sleep(milliseconds);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** {@code abort} */
  static void abort(IoSession io, IoArguments arguments) throws Failure {
    raise(io, SIGABRT);
  }

  /** {@code sigraise} */
  static void sigraise(IoSession io, IoArguments arguments) throws IoFailure, Failure {
    String text = arguments.all().getFirst();
    long signal = arguments.number(text);
    if (signal > LAST_SIGNAL) {
      throw IoFailure.said("signal argument '" + text + "' is too large to be a valid signal");
    }
    raise(io, (int) signal);
  }

  /** Sends this process a signal. What was not flushed is lost, as it is meant to be. */
  private static void raise(IoSession io, int signal) throws Failure {
    io.terminal().out().flush();
    io.terminal().err().flush();
    try {
      long self = ProcessHandle.current().pid();
      int sent =
          new ProcessBuilder("sh", "-c", "kill -" + signal + " " + self)
              .inheritIO()
              .start()
              .waitFor();
      if (sent != 0) {
        throw new Failure("signal " + signal + " could not be sent");
      }
      if (signal == 1 || signal == 2 || signal == 15) {
        // The JVM ends at once, but not within this call: no command may come between.
        Thread.currentThread().join();
      }
    } catch (IOException e) {
      throw new Failure("signal " + signal + " could not be sent: " + e.getMessage(), 1, e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
