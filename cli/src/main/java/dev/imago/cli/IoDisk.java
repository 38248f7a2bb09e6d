package dev.imago.cli;

import dev.imago.Images;
import dev.imago.Inspection;
import dev.imago.image.Image;
import dev.imago.image.Image.Discard;
import dev.imago.image.Mapping;
import dev.imago.qcow2.Qcow2Info;
import dev.imago.storage.Storage.Preallocation;
import java.io.IOException;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Commands of {@code io} that ask or change a disk as a whole. */
final class IoDisk {
  /** {@code alloc} counts so many bytes unless it is told how many. */
  private static final long SECTOR = 512;

  private IoDisk() {}

  /** {@code discard} */
  static void discard(IoSession io, IoArguments arguments) throws IoFailure, IOException {
    List<String> operands = arguments.parse("Cq").operands(2, 2);
    long guestOffset = arguments.number(operands.get(0));
    long length = arguments.number(operands.get(1));
    if (length > IoNumber.MAX_REQUEST) {
      throw IoFailure.said(
          "length cannot exceed " + IoNumber.MAX_REQUEST + ", given " + operands.get(1));
    }
    Image image = io.image();
    if (IoVector.outside(image, guestOffset, length)) {
      throw IoFailure.said("discard failed: " + IoErrors.IO);
    }
    long start = System.nanoTime();
    try {
      if (length > 0 && io.target().discards()) {
        image.discard(guestOffset, length, Discard.TO_ZERO);
      }
    } catch (IOException e) {
      throw IoFailure.said("discard failed: " + IoErrors.text(io.terminal(), e));
    }
    long nanos = System.nanoTime() - start;
    if (!arguments.has('q')) {
      io.terminal()
          .print(IoReport.statistics("discard", guestOffset, length, nanos, arguments.has('C')));
    }
  }

  /** {@code flush} */
  static void flush(IoSession io, IoArguments arguments) throws IoFailure, IOException {
    io.image().flush();
  }

  /** {@code alloc} */
  static void alloc(IoSession io, IoArguments arguments) throws IoFailure, IOException {
    List<String> operands = arguments.all();
    long guestOffset = arguments.number(operands.getFirst());
    long asked = operands.size() > 1 ? arguments.number(operands.get(1)) : SECTOR;
    Image image = io.image();
    long length = Math.clamp(image.size() - guestOffset, 0, asked);
    long sum = 0;
    for (long done = 0; done < length; ) {
      Mapping mapping = image.map(guestOffset + done, length - done);
      sum += allocated(mapping) ? mapping.length() : 0;
      done += mapping.length();
    }
    io.terminal()
        .line(sum + "/" + length + " bytes allocated at offset " + IoNumber.human(guestOffset));
  }

  /** Whether it is this layer that has the bytes. */
  private static boolean allocated(Mapping mapping) {
    return !(mapping instanceof Mapping.Unallocated || mapping instanceof Mapping.Backing);
  }

  /** {@code map} */
  static void map(IoSession io, IoArguments arguments) throws IoFailure, IOException {
    Image image = io.image();
    long size = image.size();
    for (long at = 0; at < size; ) {
      Mapping mapping = image.map(at, size - at);
      boolean allocated = allocated(mapping);
      long end = at + mapping.length();
      while (end < size) {
        mapping = image.map(end, size - end);
        if (allocated(mapping) != allocated) {
          break;
        }
        end += mapping.length();
      }
      io.terminal()
          .line(
              "%s (0x%x) bytes %s allocated at offset %s (0x%x)"
                  .formatted(
                      IoNumber.human(end - at),
                      end - at,
                      allocated ? "   " : "not",
                      IoNumber.human(at),
                      at));
      at = end;
    }
  }

  /** {@code length} */
  static void length(IoSession io, IoArguments arguments) throws IoFailure {
    io.terminal().line(IoNumber.human(io.image().size()));
  }

  /** {@code truncate} */
  static void truncate(IoSession io, IoArguments arguments) throws IoFailure, Failure, IOException {
    String mode = arguments.parse("m:").value('m');
    boolean mapped = "metadata".equals(mode);
    Preallocation space =
        switch (mode) {
          case null -> Preallocation.OFF;
          case "off", "metadata" -> Preallocation.OFF;
          case "falloc" -> Preallocation.FALLOC;
          case "full" -> Preallocation.FULL;
          default -> throw new Failure("Invalid preallocation mode '" + mode + "'");
        };
    long size = arguments.number(arguments.operands(1, 1).getFirst());
    Image image = io.image();
    boolean raw = image.format().equals("raw");
    if (!raw && size % SECTOR != 0) {
      throw new Failure("The new size must be a multiple of 512");
    }
    if (size < image.size() && (mapped || space != Preallocation.OFF)) {
      throw new Failure(
          raw
              ? "Cannot use preallocation for shrinking files"
              : "Preallocation can't be used for shrinking an image");
    }
    if (!mapped) {
      image.resize(size, space, true);
    } else if (raw) {
      throw new Failure("Unsupported preallocation mode: metadata");
    } else {
      image.growMapped(size);
    }
  }

  /** {@code info} */
  static void info(IoSession io, IoArguments arguments) throws IoFailure, Failure, IOException {
    Image image = io.image();
    Qcow2Info qcow2 = null;
    Source source = io.target().source();
    if (source != null && source.name().nodes() == null && image.format().equals("qcow2")) {
      Inspection found = Images.inspect(source.name().path(), source.format(), true);
      qcow2 = found.qcow2();
    }
    io.terminal()
        .print(
            "format name: "
                + image.format()
                + "\ncluster size: "
                + IoNumber.human(image.clusterSize() > 1 ? image.clusterSize() : 0)
                + "\nvm state offset: "
                + IoNumber.human(vmStateOffset(image, qcow2))
                + "\n"
                + details(qcow2));
  }

  private static String details(@Nullable Qcow2Info qcow2) {
    return qcow2 == null
        ? ""
        : "Format specific information:\n" + ImageInfo.detailsForPeople(qcow2);
  }

  /** Behind the disk, where the next L2 table begins. */
  private static long vmStateOffset(Image image, @Nullable Qcow2Info qcow2) {
    if (qcow2 == null) {
      return 0;
    }
    long entries = qcow2.clusterSize() / (qcow2.extendedL2() ? 16 : 8);
    long reach = qcow2.clusterSize() * entries;
    return (image.size() + reach - 1) / reach * reach;
  }
}
