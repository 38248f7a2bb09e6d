package dev.imago.examples;

import dev.imago.Images;
import dev.imago.image.Extent;
import dev.imago.image.Image;
import dev.imago.image.Mapping;
import dev.imago.image.References;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Iterator;

/** Prints where each run of a disk's bytes is kept, so that one could do one's own I/O. */
public final class HostRuns {
  private HostRuns() {}

  /** Takes the image's path. */
  public static void main(String[] args) throws IOException {
    try (Image image = Images.openReadOnly(Path.of(args[0]), References.sameFolder())) {
      Iterator<Extent> runs = image.extents(0, image.size()).iterator();
      while (runs.hasNext()) {
        Extent run = runs.next();
        String where =
            switch (run.mapping()) {
              case Mapping.Data d -> "at " + d.hostOffset() + " of " + run.layer().name();
              case Mapping.Encoded e -> e.encoding() + " at " + e.hostOffset();
              case Mapping.Zero _, Mapping.Unallocated _ -> "zero";
              case Mapping.Backing _, Mapping.End _ -> "nowhere";
            };
        System.out.println(run.guestOffset() + " + " + run.length() + ": " + where);
      }
    }
  }
}
