package dev.imago.storage;

import static java.util.Map.entry;
import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class TaggedStorageTest {
  private static final Map<Class<?>, Object> SAMPLES =
      Map.ofEntries(
          entry(long.class, 7L),
          entry(boolean.class, true),
          entry(int.class, 512),
          entry(String.class, "name"),
          entry(ByteBuffer.class, ByteBuffer.allocate(3)),
          entry(ByteBuffer[].class, new ByteBuffer[] {ByteBuffer.allocate(3)}),
          entry(Storage.class, new MemoryStorage("source")),
          entry(Storage.ZeroMode.class, Storage.ZeroMode.SPARSE),
          entry(Storage.Preallocation.class, Storage.Preallocation.FULL),
          entry(Storage.Run.class, new Storage.Run(true, 5)));

  /** Also methods with a default, and those that will be added one day. */
  @Test
  void everyMethodOfAStorageReachesTheOtherOneAsItIs() throws Exception {
    List<List<Object>> calls = new ArrayList<>();
    Storage recording =
        (Storage)
            Proxy.newProxyInstance(
                Storage.class.getClassLoader(),
                new Class<?>[] {Storage.class},
                (_, method, arguments) -> {
                  calls.add(call(method, arguments));
                  return SAMPLES.get(method.getReturnType());
                });
    TaggedStorage<String> tagged = new TaggedStorage<>(recording, "tag");

    int methods = 0;
    for (Method method : Storage.class.getMethods()) {
      if (!Modifier.isStatic(method.getModifiers())) {
        Object[] arguments = Arrays.stream(method.getParameterTypes()).map(SAMPLES::get).toArray();
        assertThat(invoke(method, tagged, arguments))
            .isEqualTo(SAMPLES.get(method.getReturnType()));
        assertThat(calls).hasSize(++methods).last().isEqualTo(call(method, arguments));
      }
    }
    assertThat(methods).isGreaterThan(15);
    assertThat(tagged.tag()).isEqualTo("tag");
  }

  private static Object invoke(Method method, Storage target, Object[] arguments)
      throws IllegalAccessException, InvocationTargetException {
    return method.invoke(target, arguments);
  }

  private static List<Object> call(Method method, Object[] arguments) {
    return List.of(method.getName(), arguments == null ? List.of() : Arrays.asList(arguments));
  }
}
