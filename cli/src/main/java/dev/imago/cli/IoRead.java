package dev.imago.cli;

import dev.imago.image.Image;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One request that reads: {@code read}, {@code readv} or {@code aio_read}.
 *
 * @param name the command that error messages name
 * @param lengths of the buffers that it fills
 * @param pattern what the bytes must be, or null
 * @param from where in what is read the pattern begins
 * @param checked how many bytes must have the pattern
 * @param quiet whether nothing is told of a request that succeeds
 * @param machine whether statistics are for programs
 * @param dump whether the bytes are printed
 * @param vmState whether the offset is one in the saved state of a machine
 */
record IoRead(
    String name,
    long guestOffset,
    List<Long> lengths,
    @Nullable Byte pattern,
    long from,
    long checked,
    boolean quiet,
    boolean machine,
    boolean dump,
    boolean vmState) {

  /** Longer requests are cut, for the sake of memory. */
  static final int PIECE = 16 << 20;

  /** {@code read} */
  static void read(IoSession io, IoArguments arguments) throws IoFailure, Failure {
    arguments.parse("bCl:pP:qs:v");
    String patternText = arguments.value('P');
    Byte pattern = patternText == null ? null : IoNumber.pattern(patternText);
    String fromText = arguments.value('s');
    String checkedText = arguments.value('l');
    long from = fromText == null ? 0 : arguments.number(fromText);
    long given = checkedText == null ? -1 : arguments.number(checkedText);
    List<String> operands = arguments.operands(2, 2);
    long guestOffset = arguments.number(operands.get(0));
    long length = arguments.number(operands.get(1));
    if (length > IoNumber.MAX_REQUEST) {
      throw IoFailure.said(
          "length cannot exceed " + IoNumber.MAX_REQUEST + ", given " + operands.get(1));
    }
    if (pattern == null && (fromText != null || checkedText != null)) {
      throw arguments.usage();
    }
    long checked = given >= 0 ? given : length - from;
    if (checked < 0 || checked > length - from) {
      throw IoFailure.said("pattern verification range exceeds end of read data");
    }
    if (arguments.has('b')) {
      requireSectors(operands.get(0), guestOffset, "offset");
      requireSectors(operands.get(1), length, "count");
    }
    IoRead read =
        new IoRead(
            "read",
            guestOffset,
            List.of(length),
            pattern,
            from,
            checked,
            arguments.has('q'),
            arguments.has('C'),
            arguments.has('v'),
            arguments.has('b'));
    if (!read.run(io.terminal(), io.image())) {
      throw IoFailure.silent();
    }
  }

  /** Refuses what only whole sectors can be done with. */
  static void requireSectors(String text, long number, String what) throws IoFailure {
    if (number % 512 != 0) {
      throw IoFailure.said(text + " is not a sector-aligned value for '" + what + "'");
    }
  }

  /** {@code readv} */
  static void vectored(IoSession io, IoArguments arguments) throws IoFailure {
    arguments.parse("CP:qv");
    if (!of(arguments).run(io.terminal(), io.image())) {
      throw IoFailure.silent();
    }
  }

  /** {@code aio_read} */
  static void later(IoSession io, IoArguments arguments) throws IoFailure {
    arguments.parse("CP:iqv");
    if (arguments.has('i')) {
      arguments.operands(0, Integer.MAX_VALUE);
      io.terminal().line("injecting invalid read request");
      return;
    }
    IoRead read = of(arguments);
    Terminal terminal = io.terminal();
    Image image = io.image();
    io.requests().start(terminal, () -> read.run(terminal, image));
  }

  private static IoRead of(IoArguments arguments) throws IoFailure {
    String patternText = arguments.value('P');
    Byte pattern = patternText == null ? null : IoNumber.pattern(patternText);
    List<String> operands = arguments.operands(2, Integer.MAX_VALUE);
    long guestOffset = arguments.number(operands.getFirst());
    List<Long> lengths = IoVector.lengths(arguments, operands.subList(1, operands.size()));
    return new IoRead(
        "readv",
        guestOffset,
        lengths,
        pattern,
        0,
        IoVector.sum(lengths),
        arguments.has('q'),
        arguments.has('C'),
        arguments.has('v'),
        false);
  }

  /** Does it, and tells what came of it; false if it failed or the pattern was another. */
  boolean run(Terminal terminal, Image image) {
    long length = IoVector.sum(lengths);
    if (!vmState && IoVector.outside(image, guestOffset, length)) {
      terminal.line(name + " failed: " + IoErrors.IO);
      return false;
    }
    if (vmState && !image.format().equals("qcow2")) {
      terminal.line(name + " failed: " + IoErrors.UNSUPPORTED);
      return false;
    }
    boolean same = true;
    long nanos = 0;
    StringBuilder text = new StringBuilder();
    StringBuilder dumped = new StringBuilder();
    try {
      for (long done = 0; done < length || done == 0; done += PIECE) {
        int piece = (int) Math.min(PIECE, length - done);
        ByteBuffer buffer = ByteBuffer.allocate(piece);
        long start = System.nanoTime();
        if (vmState) {
          Qcow2.readVmState(image, buffer, guestOffset + done);
          buffer.flip();
        } else {
          image.read(IoVector.split(buffer, done, lengths), guestOffset + done);
        }
        nanos += System.nanoTime() - start;
        same &= pattern == null || hasPattern(buffer, done, pattern);
        if (dump && !quiet) {
          dumped.append(IoReport.dump(buffer, guestOffset + done));
        }
        if (length > PIECE) {
          terminal.print(dumped);
          dumped.setLength(0);
        }
      }
    } catch (IOException e) {
      terminal.line(name + " failed: " + IoErrors.text(terminal, e));
      return false;
    }
    if (!same) {
      text.append("Pattern verification failed at offset ")
          .append(guestOffset + from)
          .append(", ")
          .append(checked)
          .append(" bytes\n");
    }
    text.append(dumped);
    if (!quiet) {
      text.append(IoReport.statistics("read", guestOffset, length, nanos, machine));
    }
    terminal.print(text);
    return same;
  }

  private boolean hasPattern(ByteBuffer buffer, long done, byte wanted) {
    long first = Math.max(from - done, 0);
    long end = Math.min(from + checked - done, buffer.limit());
    for (long i = first; i < end; i++) {
      if (buffer.get((int) i) != wanted) {
        return false;
      }
    }
    return true;
  }
}
