package dev.imago.bench;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Runs a process and has the kernel say what it cost: posix_spawn and wait4 themselves, because the
 * JDK's processes keep the resource usage to themselves and other tools round it to 10 ms.
 *
 * <p>Linux, 64 bits.
 */
final class Child {
  private static final int O_RDONLY = 0;
  private static final int O_WRONLY_CREAT_TRUNC = 1 | 0100 | 01000;
  private static final long FILE_ACTIONS_BYTES = 512;
  private static final long RUSAGE_BYTES = 256;
  private static final long MICROS_AT = 8;
  private static final long SYSTEM_TIME_AT = 16;

  private static final MethodHandle SPAWN =
      link(
          "posix_spawnp",
          FunctionDescriptor.of(
              ValueLayout.JAVA_INT,
              ValueLayout.ADDRESS,
              ValueLayout.ADDRESS,
              ValueLayout.ADDRESS,
              ValueLayout.ADDRESS,
              ValueLayout.ADDRESS,
              ValueLayout.ADDRESS));
  private static final MethodHandle ADD_OPEN =
      link(
          "posix_spawn_file_actions_addopen",
          FunctionDescriptor.of(
              ValueLayout.JAVA_INT,
              ValueLayout.ADDRESS,
              ValueLayout.JAVA_INT,
              ValueLayout.ADDRESS,
              ValueLayout.JAVA_INT,
              ValueLayout.JAVA_INT));
  private static final MethodHandle INIT =
      link(
          "posix_spawn_file_actions_init",
          FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS));
  private static final MethodHandle WAIT =
      link(
          "wait4",
          FunctionDescriptor.of(
              ValueLayout.JAVA_INT,
              ValueLayout.JAVA_INT,
              ValueLayout.ADDRESS,
              ValueLayout.JAVA_INT,
              ValueLayout.ADDRESS));
  private static final MemorySegment ENVIRONMENT =
      Linker.nativeLinker()
          .defaultLookup()
          .findOrThrow("environ")
          .reinterpret(8)
          .get(ValueLayout.ADDRESS, 0);

  private Child() {}

  /**
   * What a process, with all children it waited for, has cost.
   *
   * @param exitCode as a shell says it: 128 and the signal's number if one ended it
   * @param wallNanos from before it was started until its end was known
   * @param userNanos to the microsecond
   * @param systemNanos to the microsecond
   */
  record Cost(int exitCode, long wallNanos, long userNanos, long systemNanos) {}

  /**
   * Runs a program to its end, with nothing on its standard input.
   *
   * @param out takes its standard output
   * @param err takes its standard error
   */
  static Cost run(List<String> command, Path out, Path err) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment actions = arena.allocate(FILE_ACTIONS_BYTES, 16);
      require("posix_spawn_file_actions_init", (int) INIT.invokeExact(actions));
      redirect(arena, actions, 0, "/dev/null", O_RDONLY);
      redirect(arena, actions, 1, out.toString(), O_WRONLY_CREAT_TRUNC);
      redirect(arena, actions, 2, err.toString(), O_WRONLY_CREAT_TRUNC);
      MemorySegment arguments = arena.allocate(ValueLayout.ADDRESS, command.size() + 1L);
      for (int i = 0; i < command.size(); i++) {
        arguments.setAtIndex(ValueLayout.ADDRESS, i, arena.allocateFrom(command.get(i)));
      }
      MemorySegment program = arguments.get(ValueLayout.ADDRESS, 0);
      MemorySegment pid = arena.allocate(ValueLayout.JAVA_INT);
      MemorySegment status = arena.allocate(ValueLayout.JAVA_INT);
      MemorySegment usage = arena.allocate(RUSAGE_BYTES, 8);
      long before = System.nanoTime();
      int failed =
          (int)
              SPAWN.invokeExact(pid, program, actions, MemorySegment.NULL, arguments, ENVIRONMENT);
      require("start of " + command.getFirst(), failed);
      int child = pid.get(ValueLayout.JAVA_INT, 0);
      int ended;
      do {
        ended = (int) WAIT.invokeExact(child, status, 0, usage);
      } while (ended != child);
      long wall = System.nanoTime() - before;
      return new Cost(
          exitCode(status.get(ValueLayout.JAVA_INT, 0)),
          wall,
          nanos(usage, 0),
          nanos(usage, SYSTEM_TIME_AT));
    } catch (IOException | RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new AssertionError(e);
    }
  }

  /**
   * Runs a program to its end and has GNU time say how much memory it had at most, in KiB. What the
   * kernel tells by {@code wait4} will not do: a process begins with the peak of who started it,
   * and that is a JVM.
   */
  static long peakKib(List<String> command, Path out, Path err) throws IOException {
    Path answer = out.resolveSibling("peak");
    List<String> words = new ArrayList<>(List.of("time", "-f", "%M", "-o", answer.toString()));
    words.addAll(command);
    if (run(words, out, err).exitCode() != 0) {
      throw new IOException(String.join(" ", command) + " failed under time");
    }
    long peak = Long.parseLong(Files.readAllLines(answer).getLast());
    Files.delete(answer);
    return peak;
  }

  private static void redirect(
      Arena arena, MemorySegment actions, int descriptor, String path, int flags) throws Throwable {
    MemorySegment name = arena.allocateFrom(path);
    require(
        "posix_spawn_file_actions_addopen",
        (int) ADD_OPEN.invokeExact(actions, descriptor, name, flags, 0644));
  }

  private static int exitCode(int status) {
    int signal = status & 0x7f;
    return signal == 0 ? status >> 8 & 0xff : 128 + signal;
  }

  private static long nanos(MemorySegment usage, long at) {
    return usage.get(ValueLayout.JAVA_LONG, at) * 1_000_000_000
        + usage.get(ValueLayout.JAVA_LONG, at + MICROS_AT) * 1000;
  }

  private static void require(String what, int errno) throws IOException {
    if (errno != 0) {
      throw new IOException(what + ": error " + errno);
    }
  }

  @SuppressWarnings("restricted")
  private static MethodHandle link(String name, FunctionDescriptor signature) {
    Linker linker = Linker.nativeLinker();
    return linker.downcallHandle(linker.defaultLookup().findOrThrow(name), signature);
  }
}
