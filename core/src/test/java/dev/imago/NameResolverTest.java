package dev.imago;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.imago.image.Image;
import dev.imago.image.NameResolver;
import dev.imago.image.ReferenceDeniedException;
import dev.imago.image.References;
import dev.imago.image.UnsupportedFeatureException;
import dev.imago.storage.MemoryStorage;
import dev.imago.storage.Storage;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Backing images that are no files, and who may have them opened. */
class NameResolverTest {
  private static final int SIZE = 1 << 20;

  private final Map<String, MemoryStorage> places = new HashMap<>();
  private final List<String> opened = new ArrayList<>();

  private final NameResolver resolver =
      new NameResolver() {
        @Override
        public boolean knows(String name) {
          return name.startsWith("mem:");
        }

        @Override
        public Storage open(String name, boolean writable) throws IOException {
          opened.add(name + (writable ? " for writing" : ""));
          MemoryStorage place = places.get(name);
          if (place == null) {
            throw new IOException("nothing there");
          }
          return place;
        }
      };

  private MemoryStorage overlay(String name, String backing, String format) throws IOException {
    MemoryStorage storage = new MemoryStorage(name);
    places.put(name, storage);
    Images.create(storage, CreateOptions.of("qcow2", SIZE).backing(backing, format));
    return storage;
  }

  private Image open(Storage storage, References references) throws IOException {
    return Images.open(storage, OpenOptions.of(references).resolver(resolver));
  }

  @Test
  void opensAllLayersThatItKnowsUnderAnywhere() throws Exception {
    MemoryStorage base = new MemoryStorage("mem:base");
    places.put("mem:base", base);
    base.resize(SIZE, Storage.Preallocation.OFF);
    base.write(ByteBuffer.wrap(new byte[] {7}), 5);
    overlay("mem:middle", "mem:base", "raw");
    MemoryStorage top = overlay("mem:top", "mem:middle", "qcow2");

    try (Image image = open(top, References.anywhere())) {
      ByteBuffer read = ByteBuffer.allocate(1);
      image.read(read, 5);
      assertThat(read.get(0)).isEqualTo((byte) 7);
    }
    assertThat(opened).containsExactly("mem:middle", "mem:base");
  }

  @Test
  void isNotAskedUnderAnythingLess() throws Exception {
    MemoryStorage top = overlay("mem:top", "mem:base", "raw");

    for (References each :
        List.of(References.deny(), References.sameFolder(), References.under())) {
      assertThatThrownBy(() -> open(top, each)).isInstanceOf(UnsupportedFeatureException.class);
    }
    assertThat(opened).isEmpty();
  }

  @Test
  void isNotAskedForWhatItDoesNotKnow() throws Exception {
    MemoryStorage top = overlay("mem:top", "other:base", "raw");

    assertThatThrownBy(() -> open(top, References.anywhere()))
        .isInstanceOf(UnsupportedFeatureException.class)
        .hasMessageContaining("is reached by the protocol 'other'");
    assertThat(opened).isEmpty();
  }

  @Test
  void whyItCouldNotIsTold() throws Exception {
    MemoryStorage top = overlay("mem:top", "mem:gone", "raw");

    assertThatThrownBy(() -> open(top, References.anywhere()))
        .isInstanceOf(ReferenceFailedException.class)
        .hasRootCauseMessage("nothing there");
  }

  @Test
  void aChainThatComesBackToItselfIsRefused() throws Exception {
    overlay("mem:a", "mem:b", "qcow2");
    MemoryStorage top = overlay("mem:b", "mem:a", "qcow2");

    assertThatThrownBy(() -> open(top, References.anywhere()))
        .isInstanceOf(ReferenceDeniedException.class)
        .hasMessageContaining("creates an infinite loop");
  }
}
