package dev.imago.cli;

import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * One request that writes: {@code write}, {@code writev} or {@code aio_write}.
 *
 * @param name the command that error messages name
 * @param kind what is written
 * @param lengths of the buffers that it writes
 * @param pattern what is repeated over them
 * @param fua whether it must survive a power cut when it is done
 * @param mayUnmap whether zeroes may give host space back
 * @param noFallback whether zeroes are refused where they would have to be written out
 * @param quiet whether nothing is told of a request that succeeds
 * @param machine whether statistics are for programs
 */
record IoWrite(
    String name,
    Kind kind,
    long guestOffset,
    List<Long> lengths,
    Filling pattern,
    boolean fua,
    boolean mayUnmap,
    boolean noFallback,
    boolean quiet,
    boolean machine) {

  /** What is written. */
  enum Kind {
    DATA,
    ZEROES,
    COMPRESSED,
    /** The saved state of a machine; the offset is one in it. */
    VM_STATE
  }

  /** Bytes that are repeated. */
  private static final class Filling {
    private final byte[] bytes;

    Filling(byte... bytes) {
      this.bytes = bytes;
    }

    /** As much of a request's bytes as is written at once. */
    ByteBuffer piece(long length) {
      // A whole number of patterns, so that every piece begins with one.
      int most = IoRead.PIECE / bytes.length * bytes.length;
      byte[] filled = new byte[(int) Math.min(length, most)];
      if (bytes.length == 1) {
        Arrays.fill(filled, bytes[0]);
      } else {
        for (int at = 0; at < filled.length; at += bytes.length) {
          System.arraycopy(bytes, 0, filled, at, Math.min(bytes.length, filled.length - at));
        }
      }
      return ByteBuffer.wrap(filled);
    }
  }

  private static final Filling USUAL = new Filling((byte) 0xcd);

  /** {@code write} */
  static void write(IoSession io, IoArguments arguments) throws IoFailure, IOException {
    arguments.parse("bcCfnpP:qs:uz");
    Filling pattern = pattern(arguments);
    List<String> operands = arguments.operands(2, 2);
    boolean vmState = arguments.has('b');
    boolean compressed = arguments.has('c');
    boolean zeroes = arguments.has('z');
    refuseMixed(arguments);
    long guestOffset = arguments.number(operands.get(0));
    long length = arguments.number(operands.get(1));
    if (length > IoNumber.MAX_REQUEST && !arguments.has('n')) {
      throw IoFailure.said(
          "length cannot exceed " + IoNumber.MAX_REQUEST + " without -n, given " + operands.get(1));
    }
    if (vmState || compressed) {
      IoRead.requireSectors(operands.get(0), guestOffset, "offset");
      IoRead.requireSectors(operands.get(1), length, "count");
    }
    String file = arguments.value('s');
    if (file != null) {
      pattern = contents(file);
    }
    Kind kind = zeroes ? Kind.ZEROES : compressed ? Kind.COMPRESSED : Kind.DATA;
    IoWrite write =
        new IoWrite(
            "write",
            vmState ? Kind.VM_STATE : kind,
            guestOffset,
            List.of(length),
            pattern,
            arguments.has('f') || io.target().writeThrough(),
            arguments.has('u'),
            arguments.has('n'),
            arguments.has('q'),
            arguments.has('C'));
    if (!write.run(io.terminal(), io.image())) {
      throw IoFailure.silent();
    }
  }

  private static void refuseMixed(IoArguments arguments) throws IoFailure {
    boolean zeroes = arguments.has('z');
    boolean vmState = arguments.has('b');
    if (vmState && zeroes) {
      throw IoFailure.said("-b and -z cannot be specified at the same time");
    }
    if (arguments.has('f') && (vmState || arguments.has('c'))) {
      throw IoFailure.said("-f and -b or -c cannot be specified at the same time");
    }
    if (arguments.has('n') && !zeroes) {
      throw IoFailure.said("-n requires -z to be specified");
    }
    if (arguments.has('u') && !zeroes) {
      throw IoFailure.said("-u requires -z to be specified");
    }
    int sources = (zeroes ? 1 : 0) + (arguments.has('P') ? 1 : 0) + (arguments.has('s') ? 1 : 0);
    if (sources > 1) {
      throw IoFailure.said("Only one of -z, -P, and -s can be specified at the same time");
    }
  }

  private static Filling pattern(IoArguments arguments) throws IoFailure {
    String text = arguments.value('P');
    return text == null ? USUAL : new Filling(IoNumber.pattern(text));
  }

  /** The first bytes of a file, which are repeated if the request is longer. */
  private static Filling contents(String file) throws IoFailure, IOException {
    try (InputStream in = Files.newInputStream(Path.of(file))) {
      byte[] bytes = in.readNBytes(IoRead.PIECE);
      if (bytes.length == 0) {
        throw IoFailure.complained(file + ": file is empty");
      }
      return new Filling(bytes);
    } catch (NoSuchFileException | InvalidPathException e) {
      throw IoFailure.complained(file + ": No such file or directory");
    } catch (IOException e) {
      String why = Files.isDirectory(Path.of(file)) ? "Is a directory" : Errors.text(e);
      throw IoFailure.complained(file + ": " + why);
    }
  }

  /** {@code writev} */
  static void vectored(IoSession io, IoArguments arguments) throws IoFailure {
    arguments.parse("CfqP:");
    IoWrite write = of(io, arguments, "writev");
    if (!write.run(io.terminal(), io.image())) {
      throw IoFailure.silent();
    }
  }

  /** {@code aio_write} */
  static void later(IoSession io, IoArguments arguments) throws IoFailure {
    arguments.parse("CfiP:quz");
    List<String> operands = arguments.operands(2, Integer.MAX_VALUE);
    boolean zeroes = arguments.has('z');
    if (zeroes && operands.size() != 2) {
      throw IoFailure.said("-z supports only a single length parameter");
    }
    if (arguments.has('u') && !zeroes) {
      throw IoFailure.said("-u requires -z to be specified");
    }
    if (arguments.has('i')) {
      io.terminal().line("injecting invalid write request");
      return;
    }
    IoWrite write = of(io, arguments, "aio_write");
    Terminal terminal = io.terminal();
    Image image = io.image();
    io.requests().start(terminal, () -> write.run(terminal, image));
  }

  private static IoWrite of(IoSession io, IoArguments arguments, String name) throws IoFailure {
    Filling pattern = pattern(arguments);
    List<String> operands = arguments.operands(2, Integer.MAX_VALUE);
    long guestOffset = arguments.number(operands.getFirst());
    boolean zeroes = arguments.has('z');
    List<String> texts = operands.subList(1, operands.size());
    return new IoWrite(
        name,
        zeroes ? Kind.ZEROES : Kind.DATA,
        guestOffset,
        zeroes ? List.of(arguments.number(texts.getFirst())) : IoVector.lengths(arguments, texts),
        pattern,
        arguments.has('f') || io.target().writeThrough(),
        arguments.has('u'),
        false,
        arguments.has('q'),
        arguments.has('C'));
  }

  /** Does it, and tells what came of it; false if it failed. */
  boolean run(Terminal terminal, Image image) {
    long length = IoVector.sum(lengths);
    String problem = null;
    long nanos = 0;
    if (kind != Kind.VM_STATE && IoVector.outside(image, guestOffset, length)) {
      problem = IoErrors.IO;
    } else if (kind == Kind.VM_STATE && !image.format().equals("qcow2")) {
      problem = IoErrors.UNSUPPORTED;
    } else {
      @Nullable ByteBuffer bytes = kind == Kind.ZEROES ? null : pattern.piece(length);
      long start = System.nanoTime();
      try {
        problem = write(image, length, bytes);
      } catch (IOException e) {
        problem = IoErrors.text(terminal, e);
      }
      nanos = System.nanoTime() - start;
    }
    if (problem != null) {
      terminal.line(name + " failed: " + problem);
      return false;
    }
    if (!quiet) {
      terminal.print(IoReport.statistics("wrote", guestOffset, length, nanos, machine));
    }
    return true;
  }

  /** Returns why it cannot be done, or null if it is. */
  private @Nullable String write(Image image, long length, @Nullable ByteBuffer bytes)
      throws IOException {
    if (bytes == null) {
      long cluster = image.clusterSize();
      if (noFallback
          && (partOfData(image, guestOffset / cluster * cluster, guestOffset)
              || partOfData(
                  image, (guestOffset + length) / cluster * cluster, guestOffset + length))) {
        return IoErrors.UNSUPPORTED;
      }
      image.writeZeroes(guestOffset, length, mayUnmap, fua);
      return null;
    }
    if (kind == Kind.COMPRESSED) {
      return compress(image, length, bytes);
    }
    long done = 0;
    do {
      bytes.clear().limit((int) Math.min(bytes.capacity(), length - done));
      if (kind == Kind.VM_STATE) {
        Qcow2.writeVmState(image, bytes.slice(), guestOffset + done);
      } else {
        image.write(IoVector.split(bytes, done, lengths), guestOffset + done, fua);
      }
      done += bytes.limit();
    } while (done < length);
    return null;
  }

  /** Whether a boundary lies within a cluster that has data. */
  private static boolean partOfData(Image image, long cluster, long boundary) throws IOException {
    if (cluster == boundary || boundary == image.size()) {
      return false;
    }
    Mapping mapping = image.resolve(cluster, image.clusterSize()).mapping();
    return mapping instanceof Mapping.Data || mapping instanceof Mapping.Encoded;
  }

  private @Nullable String compress(Image image, long length, ByteBuffer bytes) throws IOException {
    long cluster = image.clusterSize();
    boolean whole = length % cluster == 0 || guestOffset + length == image.size();
    if (cluster > 1 && (guestOffset % cluster != 0 || !whole)) {
      return "Invalid argument";
    }
    if (occupied(image, length)) {
      return IoErrors.IO;
    }
    for (long done = 0; done < length; done += cluster) {
      int part = (int) Math.min(cluster, length - done);
      ByteBuffer one = ByteBuffer.allocate(part);
      for (int i = 0; i < part; i++) {
        one.put(bytes.get((int) ((done + i) % bytes.capacity())));
      }
      image.writeCompressed(one.flip(), guestOffset + done);
    }
    return null;
  }

  /** Whether the layer has a place already for some of it: QEMU compresses nothing there. */
  private boolean occupied(Image image, long length) throws IOException {
    for (long done = 0; image.clusterSize() > 1 && done < length; ) {
      Mapping mapping = image.map(guestOffset + done, length - done);
      if (mapping instanceof Mapping.Data
          || mapping instanceof Mapping.Encoded
          || (mapping instanceof Mapping.Zero zero && zero.preallocatedHostOffset() >= 0)) {
        return true;
      }
      done += mapping.length();
    }
    return false;
  }
}
