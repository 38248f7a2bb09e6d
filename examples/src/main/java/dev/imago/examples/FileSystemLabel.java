package dev.imago.examples;

import dev.imago.Images;
import dev.imago.image.Image;
import dev.imago.image.References;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** Prints the label of the ext2, ext3 or ext4 file system that fills a disk image. */
public final class FileSystemLabel {
  private static final int SUPERBLOCK = 1024;
  private static final int MAGIC = 0x38;
  private static final int LABEL = 0x78;
  private static final int LABEL_BYTES = 16;

  private FileSystemLabel() {}

  /** Takes the image's path, in any format that Imago knows. */
  public static void main(String[] args) throws IOException {
    try (Image image = Images.openReadOnly(Path.of(args[0]), References.sameFolder())) {
      System.out.println(label(image));
    }
  }

  private static String label(Image image) throws IOException {
    ByteBuffer superblock = ByteBuffer.allocate(1024).order(ByteOrder.LITTLE_ENDIAN);
    if (image.size() < SUPERBLOCK + superblock.capacity()) {
      return "(too short for a file system)";
    }
    image.read(superblock, SUPERBLOCK);
    if (superblock.getShort(MAGIC) != (short) 0xef53) {
      return "(no ext file system)";
    }
    String label = new String(superblock.array(), LABEL, LABEL_BYTES, StandardCharsets.ISO_8859_1);
    int end = label.indexOf(0);
    return end < 0 ? label : label.substring(0, end);
  }
}
