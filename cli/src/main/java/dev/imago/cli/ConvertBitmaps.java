package dev.imago.cli;

import dev.imago.image.Image;
import dev.imago.qcow2.BitmapInfo;
import dev.imago.qcow2.Qcow2;
import java.io.IOException;
import java.util.List;

/** What {@code convert --bitmaps} demands of images, and says of them. */
final class ConvertBitmaps {
  private ConvertBitmaps() {}

  /** Refuses sources whose bitmaps cannot be copied. */
  static void requireThere(List<Image> sources, boolean skipBroken) throws Failure, IOException {
    if (sources.size() > 1) {
      throw new Failure("Copying bitmaps only possible with single source");
    }
    Image source = sources.getFirst();
    if (!source.format().equals("qcow2") || !Qcow2.bitmaps(source).supported()) {
      throw new Failure("Source lacks bitmap support");
    }
    for (BitmapInfo each : Qcow2.bitmaps(source).list()) {
      if (each.inconsistent() && !skipBroken) {
        throw new Failure(
            "Cannot copy inconsistent bitmap '%s'\n".formatted(each.name())
                + "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it");
      }
    }
  }

  static Failure notInTarget(String format) {
    return new Failure("Format driver '" + format + "' does not support bitmaps");
  }

  static void warnOfSkipped(Terminal terminal, Image source) throws IOException {
    for (BitmapInfo each : Qcow2.bitmaps(source).list()) {
      if (each.inconsistent()) {
        terminal.warning("Skipping inconsistent bitmap '" + each.name() + "'");
      }
    }
  }
}
