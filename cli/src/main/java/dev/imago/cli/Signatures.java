package dev.imago.cli;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/**
 * Tells formats that are not opened here by their first bytes, and by their last 512: so that a
 * file which somebody else would not take for raw is not silently taken for raw here.
 */
final class Signatures {
  private static final int LOOKED_AT = 1024;
  private static final int FOOTER = 512;

  private Signatures() {}

  /** The names of such formats that a file may be of. */
  static List<String> of(Path path) throws IOException {
    try (FileChannel file = FileChannel.open(path, StandardOpenOption.READ)) {
      String first = read(file, 0, LOOKED_AT);
      String last = file.size() < FOOTER ? "" : read(file, file.size() - FOOTER, FOOTER);
      List<String> found = new ArrayList<>();
      add(found, "qcow", first.startsWith("QFI\u00fb\0\0\0\1"));
      add(found, "qed", first.startsWith("QED\0"));
      add(found, "vmdk", isVmdk(first));
      add(found, "vhdx", first.startsWith("vhdxfile"));
      add(found, "vpc", first.startsWith("conectix") || last.startsWith("conectix"));
      add(found, "vdi", first.startsWith("\u007f\u0010\u00da\u00be", 64));
      add(found, "luks", first.startsWith("LUKS\u00ba\u00be"));
      add(
          found,
          "parallels",
          first.startsWith("WithoutFreeSpace") || first.startsWith("WithouFreSpacExt"));
      add(found, "dmg", last.startsWith("koly"));
      return found;
    }
  }

  /** A sparse extent, or a text that names files: blanks and comments may come first. */
  private static boolean isVmdk(String first) {
    return first.startsWith("KDMV")
        || first.startsWith("COWD")
        || first.contains("# Disk DescriptorFile")
        || (first.contains("createType=") && first.contains("\nRW "));
  }

  private static void add(List<String> found, String name, boolean matches) {
    if (matches) {
      found.add(name);
    }
  }

  private static String read(FileChannel file, long at, int length) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(length);
    int count;
    do {
      count = file.read(bytes, at + bytes.position());
    } while (count > 0 && bytes.hasRemaining());
    return new String(bytes.array(), 0, bytes.position(), StandardCharsets.ISO_8859_1);
  }
}
